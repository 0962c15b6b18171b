"""The Internet checksum (RFC 1071), of bytes. Pure, of use everywhere."""


# RFC 9776 4.1.2 a
def checksum(data: bytes) -> int:
    """Internet checksum of `data`, whose checksum field must be zero; odd lengths are padded (RFC 1071)."""
    number = _number(data)
    return 0xFFFF - (number % 0xFFFF or (0xFFFF if number else 0))


def is_intact(data: bytes) -> bool:
    """Whether `data` with its checksum field included sums to 0xffff (RFC 1071)."""
    number = _number(data)
    return number % 0xFFFF == 0 and number != 0


def _number(data: bytes) -> int:
    # 65536 is 1 modulo 65535: one division of the whole message adds its 16-bit words with end-around carry.
    number = int.from_bytes(data, "big")
    return number << 8 if len(data) & 1 else number
