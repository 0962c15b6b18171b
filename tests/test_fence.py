"""Which fence a machine gets; that it orders anything can only be reasoned about where loads are in order."""

import mmap
import os

import pytest

from forwarder.state import fence

HERE = os.uname().machine


def test_machines_that_keep_the_order_pay_nothing_and_others_ask_the_kernel():
    assert fence.fence_for("x86_64") is fence.fence_for("s390x")
    for machine in ("aarch64", "riscv64", "ppc64le", "one that is yet to come"):
        assert fence.fence_for(machine) is not fence.fence_for("x86_64")


def test_the_kernel_offers_its_fence_by_the_number_of_this_machine():
    if (by_kernel := fence.membarrier(HERE)) is None:
        pytest.skip("no membarrier(2) here")
    assert by_kernel() is None


def test_without_the_kernels_offer_there_are_locks():
    two = fence.two_locks()
    assert (two(), two()) == (None, None)


def test_a_reader_beside_a_writer_sees_nothing_older_than_the_status():
    """Numbers that are written before their status, by another process; proves nothing where loads are in order."""
    memory, numbers = mmap.mmap(-1, 4096), 20_000
    words = memoryview(memory).cast("Q")
    if (writer := os.fork()) == 0:
        for number in range(1, numbers + 1):
            words[256] = number
            fence.release()
            words[0] = number
        os._exit(0)
    while (status := words[0]) < numbers:
        fence.acquire()
        assert words[256] >= status
    assert os.waitpid(writer, 0)[1] == 0
