"""The CRC-32 of two contents, one after the other, out of theirs. Pure.

Appending n bytes multiplies a CRC, as a polynomial over GF(2), by x to the power of 8n modulo the CRC's own
polynomial (Mark Adler's method, as in zlib's crc32_combine). Polynomials are written as CRC-32 writes them:
reflected, the highest bit is the coefficient of x^0.
"""

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31


def combined(first: int, second: int, second_size: int) -> int:
    """The CRC-32 of a content with CRC ``first`` and then one of ``second_size`` bytes with ``second``."""
    return _product(_power_of_x(8 * second_size), first) ^ second


def _product(left: int, right: int) -> int:
    result, bit = 0, _ONE
    while left:
        if left & bit:
            result ^= right
            left ^= bit
        bit >>= 1
        right = (right >> 1) ^ (_POLYNOMIAL if right & 1 else 0)
    return result


def _power_of_x(exponent: int) -> int:
    result, square = _ONE, _ONE >> 1  # x^0, x^1
    while exponent:
        if exponent & 1:
            result = _product(square, result)
        square = _product(square, square)
        exponent >>= 1
    return result
