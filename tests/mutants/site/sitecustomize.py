"""In every Python process that a test starts while tests/mutants/recorder.py records: notes its lines too."""

import os
import sys

# The process of the API does not answer while it is traced; what it runs is covered by tests in their own process.
if os.environ.get("MUTANTS_TEST") and "forwarder.api" not in sys.orig_argv:
    import atexit

    import coverage

    measured = coverage.Coverage(
        data_file=os.path.join(os.environ["MUTANTS_CHILDREN"], "lines"), data_suffix=True, config_file=False,
        context=os.environ["MUTANTS_TEST"], source_pkgs=["forwarder", "igmp"],
    )
    measured.set_option("run:disable_warnings", ["module-not-imported", "no-data-collected", "module-not-measured"])
    measured.start()
    atexit.register(lambda: (measured.stop(), measured.save()))
