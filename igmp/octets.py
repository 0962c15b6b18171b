"""Numbers as IGMP writes them: floating-point codes of times.

Rules of this file: pure functions of octets and numbers; nothing here knows a message.
"""


# RFC 9776 4.1.1 a
def decode8(code: int) -> int:
    """Value of a Max Resp Code or QQIC octet: literal below 128, else a float (RFC 9776 section 4.1.1)."""
    return code if code < 128 else ((code & 0x0F) + 16) << ((code >> 4 & 7) + 3)


# RFC 9776 4.1.1 a
def encode8(value: int) -> int:
    """Largest code whose value is not above `value`, 0xff at most; ValueError when negative."""
    if value < 0:
        raise ValueError(f"no code for {value}")
    if value < 128:
        return value
    if value > 31744:
        return 0xFF
    exponent = value.bit_length() - 8
    return 0x80 | exponent << 4 | (value >> exponent + 3) & 0x0F
