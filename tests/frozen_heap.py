"""Imported last by the server that commands are forked from: what is loaded by then is no garbage.

Without this, the first collection in each command would visit every object of every library, and so copy their pages.
"""

from __future__ import annotations

import gc

gc.collect()
gc.freeze()
