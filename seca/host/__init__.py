"""The machine and the person before it: devices, memory, speed, signals, what is shown and logged."""
