import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def restored_torch():
    """Trainings set switches of the whole process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what is trained here is too small to share
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)
