"""A jigsaw puzzle as a permutation of pixels, of any size.

Square cells, as many as fit, with a tab across each inner border. A piece whose row and column have an even sum has its
tabs left and right and its blanks above and below, and the others the reverse, so that all inner pieces are one shape,
in two orientations; border pieces are of a few shapes. Tabs are defined by whole numbers from the middle of the border,
the same for all four sides: pieces of one shape have exactly the same pixels, and any two may change places. Pixels
outside the cells stay.
"""

from __future__ import annotations

from functools import cache

import numpy as np

_TOP, _RIGHT, _BOTTOM, _LEFT = range(4)
_FLAT, _OUT, _IN = 0, 1, -1
_STEPS = {_TOP: (-1, 0), _RIGHT: (0, 1), _BOTTOM: (1, 0), _LEFT: (0, -1)}

# Of the side of a cell: a neck, and a disk on it.
_NECK, _RADIUS, _CENTRE = 0.09, 0.14, 0.17

Outline = tuple[int, ...]  # what is at the top, right, bottom and left


def jigsaw_sources(height: int, width: int, n_pieces: int, seed: int, times: int = 1) -> np.ndarray:
    """Return the sources y W + x of a puzzle with n_pieces along the shorter side, (times H, times W)."""
    side, rows, columns = grid(height, width, n_pieces)
    top, left = (times * start for start in _corner(height, width, side, rows, columns))
    height, width, side = times * height, times * width, times * side
    pieces, turns = _exchange(rows, columns, np.random.default_rng(seed))
    owner = _owners(height, width, (side, rows, columns), (top, left))
    inside = owner >= 0
    to = owner[inside]
    y, x = np.nonzero(inside)
    # Twice the distances from the centre of a cell are whole, and turn without rounding.
    dy = 2 * (y - top - to // columns * side) + 1 - side
    dx = 2 * (x - left - to % columns * side) + 1 - side
    for turn in range(1, 4):
        turned = turns[to] >= turn
        dy[turned], dx[turned] = -dx[turned], dy[turned]
    source = pieces[to]
    sources = np.arange(height * width).reshape(height, width)
    from_y = top + source // columns * side + (dy - 1 + side) // 2
    from_x = left + source % columns * side + (dx - 1 + side) // 2
    sources[inside] = from_y * width + from_x
    return sources


def grid(height: int, width: int, n_pieces: int) -> tuple[int, int, int]:
    """Return the side of a cell, and how many rows and columns of them there are."""
    side = max(1, min(height, width) // n_pieces)
    return side, height // side, width // side


def owners(height: int, width: int, n_pieces: int) -> np.ndarray:
    """Return for each pixel the number of its piece, row by row, and -1 outside the cells, (H, W)."""
    cells = grid(height, width, n_pieces)
    return _owners(height, width, cells, _corner(height, width, *cells))


def _owners(height: int, width: int, grid: tuple[int, int, int], corner: tuple[int, int]) -> np.ndarray:
    (side, rows, columns), (top, left) = grid, corner
    found = np.full((height, width), -1)
    cells = found[top : top + rows * side, left : left + columns * side]
    cells[:] = np.arange(rows * columns).reshape(rows, columns).repeat(side, 0).repeat(side, 1)
    for i in range(rows):
        for j in range(columns):
            outline = _outline(i, j, rows, columns)
            for edge in range(4):
                if outline[edge] == _OUT:
                    step_y, step_x = _STEPS[edge]
                    y, x = (i + step_y) * side, (j + step_x) * side
                    cells[y : y + side, x : x + side][_tab(side, edge)] = i * columns + j
    return found


def _corner(height: int, width: int, side: int, rows: int, columns: int) -> tuple[int, int]:
    return (height - rows * side) // 2, (width - columns * side) // 2


@cache
def _tab(side: int, edge: int) -> np.ndarray:
    """Return where the tab of a neighbour at the opposite edge lies in a cell, (side, side)."""
    depth = np.arange(side)[:, None] + 0.5
    across = np.arange(side) - (side - 1) / 2
    neck = (depth < _CENTRE * side) & (abs(across) < _NECK * side)
    disk = (depth - _CENTRE * side) ** 2 + across**2 < (_RADIUS * side) ** 2
    downwards = neck | disk  # what enters from above
    return np.rot90(downwards, {_BOTTOM: 0, _RIGHT: 1, _TOP: 2, _LEFT: 3}[edge])


def _outline(i: int, j: int, rows: int, columns: int) -> Outline:
    across, along = (_OUT, _IN) if (i + j) % 2 == 0 else (_IN, _OUT)
    return (
        along if i > 0 else _FLAT,
        across if j < columns - 1 else _FLAT,
        along if i < rows - 1 else _FLAT,
        across if j > 0 else _FLAT,
    )


def _turned(outline: Outline, turn: int) -> Outline:
    """Return an outline after quarter turns clockwise."""
    return outline[4 - turn :] + outline[: 4 - turn]


def _exchange(rows: int, columns: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return for each place its piece and the quarter turns clockwise that make it fit."""
    outlines = [_outline(i, j, rows, columns) for i in range(rows) for j in range(columns)]
    shapes: dict[Outline, list[int]] = {}
    for place, outline in enumerate(outlines):
        shapes.setdefault(min(_turned(outline, turn) for turn in range(4)), []).append(place)
    pieces, turns = np.empty(len(outlines), np.int64), np.empty(len(outlines), np.int64)
    for places in shapes.values():
        pieces[places] = random.permutation(places)
    for place, piece in enumerate(pieces):
        fitting = [turn for turn in range(4) if _turned(outlines[piece], turn) == outlines[place]]
        turns[place] = random.choice(fitting)
    return pieces, turns
