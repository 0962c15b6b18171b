import os

import pytest

from forwarder.state.settings import DataplaneSettings
from forwarder.supervisor.shared import Shared


@pytest.mark.parametrize(("workers", "lent"), [(1, [set()]), (3, [{1, 2}, {0, 2}, {0, 1}])])
def test_a_worker_is_lent_the_segments_of_the_others(workers, lent):
    shared = Shared(DataplaneSettings(workers=workers, max_flows=64, max_routes=64))
    segments = [os.fstat(fd).st_ino for fd in shared.workers]
    for number, others in enumerate(lent):
        descriptors = shared.for_worker(number)
        named = {name: os.fstat(fd).st_ino for name, fd in descriptors.items() if name.startswith("worker-")}
        assert named == {f"worker-{other}": segments[other] for other in others}
        assert os.fstat(descriptors["segment"]).st_ino == segments[number]
