"""What is wrong with a machine."""

from seca.host import doctor


def test_doctor_sees_an_idle_gpu() -> None:
    assert "GPU seen but CPU jaxlib" in doctor.gpu_problems(seen=True, platform_in_use="cpu")[0]
    assert doctor.gpu_problems(seen=True, platform_in_use="gpu") == []
    assert doctor.gpu_problems(seen=False, platform_in_use="cpu") == []
