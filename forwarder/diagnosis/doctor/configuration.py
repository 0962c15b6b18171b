"""The configuration itself, and the instance that runs. Pure."""

from collections.abc import Iterator

from forwarder.diagnosis.doctor.facts import Facts
from forwarder.diagnosis.doctor.finding import ERROR, NOTE, WARNING, Finding, Kind
from forwarder.diagnosis.doctor.forwarders import ROUTING, TWIN

INVALID = Kind("invalid configuration", ERROR)
UNSEEN = Kind("interfaces not seen", ERROR)
SILENT = Kind("instance silent", ERROR)
DENIED = Kind("instance not asked", NOTE)
NONE = Kind("no configuration", NOTE)
DOUBTFUL = Kind("doubtful configuration", WARNING)

REMEDIES = {
    "small rings": "raise ring_memory in [dataplane]",
    "no rings": "raise ring_memory in [dataplane]",
    "rings of max_ports": "raise ring_memory, or lower max_ports in [dataplane]",
    "default route": "make it the upstream, and the others downstream, if the sources are not behind them",
}
"""By what a doubt of forwarder/supervisor/doubts.py is about; its words are those of `mcfwd check`."""
ELSEWHERE = (ROUTING, TWIN)     # `forwarders` has them
BY_INTERFACE = "ports "         # `interfaces` has these, with a command for each
OTHERWISE = "change it in the configuration; mcfwd check says the same"


def findings(facts: Facts) -> Iterator[Finding]:
    """What `mcfwd check` says too, and whether an instance answers."""
    for problem in facts.problems:
        yield INVALID.found("configuration", problem, "correct it; mcfwd check FILE says whether it can run")
    if facts.unseen:
        yield UNSEEN.found("interfaces", f"the system does not say which there are: {facts.unseen}",
                           "let what confines mcfwd (seccomp, SELinux) allow sockets of netlink")  # fmt: skip
    if facts.instance.silence:
        yield SILENT.found("instance", facts.instance.silence, "see its log; restart it if it does not come back")
    if facts.instance.denied:
        yield DENIED.found("instance", facts.instance.denied, "run mcfwd doctor as root, or as its user")
    if not facts.configured:
        yield NONE.found("configuration", "no configuration was named and no instance answers: only the machine was"
                         " looked at", "mcfwd doctor -c FILE")  # fmt: skip
    for about, words in facts.doubted:
        if about not in ELSEWHERE and not about.startswith(BY_INTERFACE) and not _told(words, facts):
            yield DOUBTFUL.found("configuration", words, REMEDIES.get(about, OTHERWISE))


def _told(words: str, facts: Facts) -> bool:
    """Whether an interface says it."""
    return any(words == each.enslaved for each in facts.interfaces)
