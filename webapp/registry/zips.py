"""How zip files are wrong: whatever Python's modules raise for one becomes a single error."""

import errno
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager


class Damaged(Exception):
    """It is no zip file, or a damaged one; the text says how."""


class Unsupported(Damaged):
    """It is packed in a way that Python does not know, or with a password."""


@contextmanager
def unzipping() -> Iterator[None]:
    """Around whatever opens or reads one. Errors of the disk pass as they are."""
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:
        raise Unsupported(str(error)) from error
    except OSError as error:
        # bz2 says without a number that it is damaged; EINVAL is a place before the beginning. The rest is the disk.
        if error.errno not in {None, errno.EINVAL}:
            raise
        raise Damaged(str(error)) from error
    # ValueError: a name that is not in the code it claims to be in, or an offset that cannot be.
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, OverflowError) as error:
        raise Damaged(str(error)) from error
