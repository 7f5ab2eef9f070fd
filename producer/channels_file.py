"""What a channels file says. Pure: text in, channels out.

    lists:
      majors: [BTC, ETH, SOL]
    channels:
      - liquidationOrders
      - futures_trades@{Binance,OKX}_{majors}USDT@10000

or the channels alone, as a list. Of YAML only its shape is used: nothing is ever constructed, and every value is the
text that stands there, so that a symbol NO is no truth value.
"""

import yaml

from producer.channel_patterns import CHANNELS_MAX, expand
from schemas.channels import canonical_name
from schemas.errors import UsageError

FILE_BYTES_MAX = 256 * 1024

_FORM = "write 'channels:' with one pattern a line, in quotes within brackets, and 'lists:' if wanted"


def parse_channels(content: bytes) -> tuple[str, ...]:
    """Return the channels that a file's content names, each once, under the first of its spellings.

    Raises UsageError, with the line, for content that cannot be used; no channel at all is such content.
    """
    if len(content) > FILE_BYTES_MAX:
        raise UsageError(f"it is larger than {FILE_BYTES_MAX} bytes: {_FORM}")
    patterns, lists = _parts(_composed(content))
    found: dict[str, str] = {}
    for pattern, line in patterns:
        try:
            names = expand(pattern, lists)
        except UsageError as error:
            raise UsageError(f"line {line}: {error}") from None
        for name in names:
            found.setdefault(canonical_name(name), name)
        if len(found) > CHANNELS_MAX:
            raise UsageError(f"line {line}: that makes more than {CHANNELS_MAX} channels: name fewer")
    if not found:
        raise UsageError(f"it names no channel: {_FORM}")
    return tuple(found.values())


def _composed(content: bytes) -> yaml.Node | None:
    try:
        return yaml.compose(content.decode(), Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise UsageError(f"it is not text in UTF-8: {_FORM}") from None
    except RecursionError:
        raise UsageError(f"it is nested without end: {_FORM}") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UsageError(f"{line}it is not YAML, {error.problem}: {_FORM}") from None
    except yaml.YAMLError:
        raise UsageError(f"it has characters that YAML does not allow: {_FORM}") from None


def _parts(root: yaml.Node | None) -> tuple[list[tuple[str, int]], dict[str, list[str]]]:
    """Return the patterns, each with its line, and the lists."""
    if not isinstance(root, yaml.MappingNode):
        return _texts(root), {}
    parts = _entries(root)
    for name in parts:
        if name not in ("lists", "channels"):
            raise UsageError(f"{_line(parts[name])}{name!r} is nothing that it can hold: {_FORM}")
    lists = {name: [text for text, _ in _texts(node)] for name, node in _entries(parts.get("lists")).items()}
    for name, texts in lists.items():
        if not texts:
            raise UsageError(f"the list {name!r} is empty: name what it stands for, or leave it out")
    return _texts(parts.get("channels")), lists


def _entries(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if _nothing(node):
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{_line(node)}names with lists are wanted here, such as 'majors: [BTC, ETH]'")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value in found:
            raise UsageError(f"{_line(key)}a name of its own is wanted here: {_FORM}")
        found[key.value] = value
    return found


def _texts(node: yaml.Node | None) -> list[tuple[str, int]]:
    """Return the texts of a list, each with its line."""
    if _nothing(node):
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise UsageError(f"{_line(node)}a list is wanted here: {_FORM}")
    for item in node.value:
        if not isinstance(item, yaml.ScalarNode) or not item.value:
            raise UsageError(f"{_line(item)}a text is wanted here: {_FORM}")
    return [(item.value, item.start_mark.line + 1) for item in node.value]


def _nothing(node: yaml.Node | None) -> bool:
    return node is None or (isinstance(node, yaml.ScalarNode) and node.value == "")


def _line(node: yaml.Node | None) -> str:
    return f"line {node.start_mark.line + 1}: " if node is not None else ""
