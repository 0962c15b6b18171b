"""What is added at run time, by what it speaks of, while changes are made to it one after the other. Pure.

A batch is thousands of changes. Each asks whether there is such a route already, here or in the file: where it looked
through all of them, 10,000 took minutes. So a register is made once for all, and is forgotten with them.
"""

from forwarder.config import rules
from forwarder.state.names import known
from forwarder.state.ports import Added
from forwarder.state.settings import RouteSettings, Settings, covers
from forwarder.state.static_groups import memberships

Identity = tuple[object, ...]
Membership = tuple[int | None, int]


class Register:
    """Routes and groups that are added beside `settings`, in the order in which they were."""

    def __init__(self, added: Added, settings: Settings) -> None:
        self.settings = settings
        self.routes: dict[Identity, RouteSettings] = {rules.identity(each): each for each in added.routes}
        self.groups: dict[tuple[str, str], None] = dict.fromkeys(added.groups)
        self._of_file = {rules.identity(route) for route in settings.route}
        self._problems: dict[str, str | None] = {}
        self._static: dict[str, frozenset[Membership]] = {}

    @property
    def added(self) -> Added:
        """What is added now."""
        return Added(tuple(self.routes.values()), tuple(self.groups))

    def says_route(self, identity: Identity) -> bool:
        """Whether the file has such a route."""
        return identity in self._of_file

    def says_group(self, name: str, text: str) -> bool:
        """Whether the file has a static group on the interface or wildcard `name`."""
        if name not in self._static:
            self._static[name] = self._static_groups(name)
        return rules.membership(text) in self._static[name]

    def _static_groups(self, name: str) -> frozenset[Membership]:
        """Those of the entry that has the name, or else of the first wildcard that covers it."""
        exact = [each for each in self.settings.interface if each.name == name]
        meant = exact or [each for each in self.settings.interface if covers(each.name, name)][:1]
        return frozenset().union(*(memberships(interface.static_groups) for interface in meant))

    def port_problem(self, name: str) -> str | None:
        """As `rules.port_problem`, which looks at all interfaces; of the first with the names that there are.

        Of one only: a request may have a thousand, and to look for what is near takes a while.
        """
        if name not in self._problems:
            problem = rules.port_problem(name, self.settings)
            if problem and not any(self._problems.values()):
                problem += known(name, (each.name for each in self.settings.interface if each.role != "disabled"))
            self._problems[name] = problem
        return self._problems[name]
