"""Messages of Flight SQL by hand: pyarrow has Flight only."""


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    """A field of bytes: text, a message, packed numbers."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def text(number, value):
    """A field of text; nothing for None."""
    return b"" if value is None else field(number, value.encode())


def number(place, value):
    """A field that is a number or a flag; nothing for None."""
    return b"" if value is None else varint(place << 3) + varint(int(value))


def packed(kind, message=b""):
    """The message in the Any that commands and actions come in."""
    return field(1, f"type.googleapis.com/arrow.flight.protocol.sql.{kind}".encode()) + field(2, message)


def fields(message):
    """Fields of a message by their numbers: numbers, and bytes; the last of each."""
    found, at = {}, 0

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = read()
        value = read()
        if key & 7 == 2:
            value, at = message[at : at + value], at + value
        else:
            assert key & 7 == 0, key
        found[key >> 3] = value
    return found
