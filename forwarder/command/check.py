"""`mcfwd check` and `mcfwd config`: a configuration before it runs."""

from pathlib import Path
from typing import Annotated

import typer

from forwarder.command.options import EXIT_CONFIGURATION, Format, Maps, configured, socket_path
from forwarder.endings import fail, plain_errors
from forwarder.units import visible


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", readable=False, help="TOML file, or one of another program.")],
    format: Format = None,
    maps: Maps = None,
) -> None:
    """Explain what a configuration would run, or why it would not."""
    from forwarder.config.loading import understand

    loaded = configured(lambda: understand(file, [], [], socket_path(None), format=format, maps=maps or []))
    settings = loaded.settings
    from forwarder.process.user import Trial

    with plain_errors(), Trial(settings.process.user) as trial:
        from forwarder.check import explain, obstacles
        from forwarder.config.files import plainly
        from forwarder.process.access import refusal_later, warning
        from forwarder.supervisor.link_watch import current_links
        from forwarder.supervisor.surroundings import surroundings

        links = current_links()
        reasons = obstacles(settings, links)
        if reasons:
            fail("\n".join(f"{plainly(file)}: {visible(reason)}" for reason in reasons), EXIT_CONFIGURATION)
        children = trial.result()
        lines = explain(settings, links, around=surroundings(), children=children.words)
        notices = [*loaded.notices]
        if reason := refusal_later(str(file), groups=children.user is None):
            notices.append(warning(str(file), reason))
        if notices:
            lines += [*([] if "warnings:" in lines else ["warnings:"]), *(f"  {each}" for each in notices)]
        print(f"{plainly(file)}: would run", *map(visible, lines), sep="\n", flush=True)


def config(
    defaults: Annotated[bool, typer.Option("--defaults", help="A file with all keys, defaults and meanings.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="A JSON Schema of the file, for editors.")] = False,
) -> None:
    """Print all keys as a file to start from, or a schema."""
    if defaults == schema:
        raise typer.BadParameter("say what to print: --defaults or --schema")
    with plain_errors():
        print(_schema() if schema else _defaults(), end="", flush=True)


def _defaults() -> str:
    from forwarder.config import reference

    return reference.defaults()


def _schema() -> str:
    import json

    from forwarder.config.schema import schema

    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
