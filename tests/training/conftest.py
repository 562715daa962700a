import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def restored_torch():
    """Trainings set switches of the whole process."""
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)
