"""The three menus of RouterOS's IGMP proxy as commands leave them."""

from forwarder.config.formats.console import VERBS, Command
from forwarder.config.formats.items import Item, Items
from forwarder.config.formats.values import known

MENU = ("routing", "igmp-proxy")
ALL = "all"         # RouterOS's word for every interface that is not named
GENERAL = {"query-interval": "", "query-response-interval": "", "quick-leave": "no"}
INTERFACE = {"interface": ALL, "upstream": "no", "threshold": "1", "alternative-subnets": "", "disabled": "no",
             "comment": ""}  # fmt: skip
MFC = {"group": "", "source": "", "upstream-interface": "", "downstream-interfaces": "", "disabled": "no",
       "comment": ""}  # fmt: skip


class Menus:
    """`interfaces` and `mfc` have items; the general one has its values, which nobody adds."""

    def __init__(self) -> None:
        self.values, self.interfaces, self.mfc = Item(GENERAL), Items(INTERFACE), Items(MFC)
        self._general = Items(GENERAL)
        self._menus = {MENU: self._general, (*MENU, "interface"): self.interfaces, (*MENU, "mfc"): self.mfc}

    def do(self, command: Command) -> str | None:
        """As `Items.do`."""
        menu = self._menus.get(command.menu)
        if menu is None or command.verb == "?":
            known(command.menu[-1], ("interface", "mfc", *VERBS), "command or menu")
            raise ValueError("is not understood; commands begin with add, set or remove")
        if menu is not self._general:
            return menu.do(command.verb, command.words, command.origin) if command.verb else None
        if command.verb == "set":
            menu.put([self.values], command.words, command.origin)
        return None
