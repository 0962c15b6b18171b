"""Which sentence of which standard is done where, and by what it is proved: see scripts/conformance.

`docs/requirements.toml` says what is required. A mark beside code or a test says that it is done or proved there:

    # RFC 9776 6.4.1 a b, 6.4.2 a

in a line of its own, or behind code: the requirements a and b of section 6.4.1, and a of 6.4.2. It belongs to the
function, class or constant that it stands in, or that follows it.
"""
