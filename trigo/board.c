/* board.c - groups and liberties kept as the stones come and go.
 *
 * A group is a ring of stones through `next`, and every stone names the group's head, which holds
 * the sums. Liberties are counted with multiplicity (pairs of a stone and an empty neighbour): such
 * a count changes by one per touched neighbour, needs no sets, and says what the rules ask for. The
 * group has no liberty if it is 0, and the empty cell p is its last one if it equals the number
 * of p's neighbours in the group. Two rings become one by swapping the `next` of their heads, and
 * two again by the same swap. So a step is undone exactly by its mirror image, from a record of
 * fixed size: the ring of a captured group lies untouched under the empty cells until then,
 * because whatever was dropped there later has put back what it found. */
#include "trigo/board.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

/* ---- shape and memory ------------------------------------------------------------------------ */

kvf_status trigo_shape_set(trigo_shape *shape, int64_t x, int64_t y, int64_t z, kvf_error *err)
{
    const int64_t axes[] = {x, y, z};
    for (int i = 0; i < 3; i++)
        if (axes[i] < 1 || axes[i] > TRIGO_MAX_AXIS)
            return kvf_fail(err, KVF_ERR_ARG, "axis %c of the board is %lld, but must be 1 to %d",
                            "XYZ"[i], (long long)axes[i], TRIGO_MAX_AXIS);
    *shape = (trigo_shape){(uint8_t)x, (uint8_t)y, (uint8_t)z};
    return KVF_OK;
}

/* What trigo_board_copy copies lies together: stone, colour, room. */
static size_t position_bytes(uint32_t cells)
{
    return cells * (sizeof(trigo_stone) + 2);
}

size_t trigo_board_bytes(trigo_shape shape)
{
    uint32_t cells = trigo_cells(shape);
    return sizeof(trigo_board) + position_bytes(cells) + cells;
}

static uint8_t edges_of(trigo_shape s, trigo_xyz at)
{
    return (uint8_t)((at.x + 1 < s.x) << 0 | (at.x > 0) << 1 | (at.y + 1 < s.y) << 2 |
                     (at.y > 0) << 3 | (at.z + 1 < s.z) << 4 | (at.z > 0) << 5);
}

kvf_status trigo_board_create(trigo_board **out, trigo_shape shape, kvf_error *err)
{
    *out = NULL;
    kvf_status status = trigo_shape_set(&shape, shape.x, shape.y, shape.z, err);
    if (status) return status;
    trigo_board *b = kvf_array(1, trigo_board_bytes(shape));
    if (!b) return kvf_fail(err, KVF_ERR_NOMEM, "a board of %zu bytes", trigo_board_bytes(shape));
    b->shape = shape;
    b->cells = (uint16_t)trigo_cells(shape);
    b->stone = (trigo_stone *)(b + 1);
    b->colour = (uint8_t *)(b->stone + b->cells);
    b->room = b->colour + b->cells;
    b->edges = b->room + b->cells;
    const int32_t stride[] = {shape.y * shape.z, shape.z, 1};
    for (int i = 0; i < TRIGO_MAX_NEIGHBOURS; i++)
        b->offset[i] = i % 2 ? -stride[i / 2] : stride[i / 2];
    for (uint32_t p = 0; p < b->cells; p++) b->edges[p] = edges_of(shape, trigo_cell_xyz(shape, p));
    trigo_board_clear(b);
    *out = b;
    return KVF_OK;
}

void trigo_board_destroy(trigo_board *board)
{
    kvf_free(board);
}

void trigo_board_copy(trigo_board *to, const trigo_board *from)
{
    assert(!memcmp(&to->shape, &from->shape, sizeof to->shape));
    to->now = from->now;
    memcpy(to->stone, from->stone, position_bytes(from->cells));
}

void trigo_board_clear(trigo_board *board)
{
    memset(board->stone, 0, position_bytes(board->cells));
    for (uint32_t p = 0; p < board->cells; p++)
        board->room[p] = (uint8_t)__builtin_popcount(board->edges[p]);
    board->now = (struct trigo_state){.to_move = TRIGO_BLACK, .ko = TRIGO_NONE};
}

/* ---- what the rules say ---------------------------------------------------------------------- */

const char *trigo_verdict_text(trigo_verdict verdict)
{
    switch (verdict) {
    case TRIGO_LEGAL: return "is legal";
    case TRIGO_OFF_BOARD: return "is not on the board";
    case TRIGO_OCCUPIED: return "is on a stone";
    case TRIGO_KO: return "is forbidden by ko";
    case TRIGO_SUICIDE: return "is suicide";
    case TRIGO_ENDED: return "comes after the end of the game";
    }
    return "is no move";
}

/* The neighbour for the lowest bit of `edges`, which loops clear bit by bit. */
static inline uint32_t neighbour(const trigo_board *b, uint32_t p, uint32_t edges)
{
    return p + (uint32_t)b->offset[__builtin_ctz(edges)];
}

/* Whether the empty cell p is the last liberty of a group beside it. */
static bool is_last_liberty(const trigo_board *b, uint32_t p, uint32_t head)
{
    uint32_t contacts = 0;
    for (uint32_t e = b->edges[p]; e; e &= e - 1) {
        uint32_t q = neighbour(b, p, e);
        contacts += b->colour[q] && b->stone[q].head == head;
    }
    return b->stone[head].libs == contacts;
}

/* Whether a drop at p captures exactly one stone. A group of one stone touches p once, so each
 * that is met is another one. */
static bool takes_one_stone(const trigo_board *b, uint32_t p)
{
    uint32_t n = 0;
    for (uint32_t e = b->edges[p]; e; e &= e - 1) {
        uint32_t q = neighbour(b, p, e);
        if (b->colour[q] != trigo_other(b->now.to_move)) continue;
        uint32_t head = b->stone[q].head;
        if (!is_last_liberty(b, p, head)) continue;
        if (b->stone[head].size > 1) return false;
        n++;
    }
    return n == 1;
}

/* Whether a drop at p, which has no empty neighbour, leaves its stone with a liberty: a group of
 * its own colour has another one, or a group of the other colour has none and goes. */
static bool breathes(const trigo_board *b, uint32_t p)
{
    for (uint32_t e = b->edges[p]; e; e &= e - 1) {
        uint32_t q = neighbour(b, p, e);
        bool own = b->colour[q] == b->now.to_move;
        if (own != is_last_liberty(b, p, b->stone[q].head)) return true;
    }
    return false;
}

trigo_verdict trigo_board_drop(const trigo_board *board, uint32_t cell)
{
    if (cell >= board->cells) return TRIGO_OFF_BOARD;
    if (board->colour[cell]) return TRIGO_OCCUPIED;
    if (cell == board->now.ko && takes_one_stone(board, cell)) return TRIGO_KO;
    return board->room[cell] || breathes(board, cell) ? TRIGO_LEGAL : TRIGO_SUICIDE;
}

size_t trigo_board_drops(const trigo_board *board, trigo_move *drops)
{
    size_t n = 0;
    for (uint32_t p = 0; p < board->cells; p++)
        if (!board->colour[p] && trigo_board_drop(board, p) == TRIGO_LEGAL)
            drops[n++] = (trigo_move)p;
    return n;
}

/* ---- a step and back ------------------------------------------------------------------------- */

static void swap_rings(trigo_board *b, uint32_t p, uint32_t q)
{
    uint16_t next = b->stone[p].next;
    b->stone[p].next = b->stone[q].next;
    b->stone[q].next = next;
}

static void rename_ring(trigo_board *b, uint32_t ring, uint32_t head)
{
    uint32_t p = ring;
    do {
        b->stone[p].head = (uint16_t)head;
        p = b->stone[p].next;
    } while (p != ring);
}

/* The smaller group joins the larger; its head, which is returned, keeps its sums for split. */
static uint16_t join(trigo_board *b, uint32_t p, uint32_t q)
{
    uint32_t keep = b->stone[p].size >= b->stone[q].size ? p : q, give = p + q - keep;
    rename_ring(b, give, keep);
    swap_rings(b, keep, give);
    b->stone[keep].size += b->stone[give].size;
    b->stone[keep].libs += b->stone[give].libs;
    return (uint16_t)give;
}

static void split(trigo_board *b, uint32_t give)
{
    uint32_t keep = b->stone[give].head;
    b->stone[keep].libs -= b->stone[give].libs;
    b->stone[keep].size -= b->stone[give].size;
    swap_rings(b, keep, give);
    rename_ring(b, give, give);
}

/* Lift the stones of a captured group, or (taken is false) put them back. Only stones of the side
 * that captured stand around them. */
static void lift(trigo_board *b, uint32_t head, bool taken)
{
    trigo_colour mover = b->now.to_move, owner = trigo_other(mover);
    int change = taken ? 1 : -1;
    uint32_t p = head;
    do {
        b->colour[p] = taken ? TRIGO_EMPTY : owner;
        for (uint32_t e = b->edges[p]; e; e &= e - 1) {
            uint32_t q = neighbour(b, p, e);
            b->room[q] += change;
            if (b->colour[q] == mover) b->stone[b->stone[q].head].libs += change;
        }
        p = b->stone[p].next;
    } while (p != head);
    int stones = change * b->stone[head].size;
    b->now.stones[owner] -= stones;
    b->now.captured[owner] += (uint32_t)stones;
}

/* Tell the neighbours of p that it has been filled (change -1) or emptied (+1). */
static void touch_neighbours(trigo_board *b, uint32_t p, int change)
{
    for (uint32_t e = b->edges[p]; e; e &= e - 1) {
        uint32_t q = neighbour(b, p, e);
        b->room[q] += change;
        if (b->colour[q]) b->stone[b->stone[q].head].libs += change;
    }
}

static void drop(trigo_board *b, uint32_t p, trigo_step *step)
{
    trigo_colour mover = b->now.to_move;
    step->under = b->stone[p];
    touch_neighbours(b, p, -1);
    b->colour[p] = mover;
    b->now.stones[mover]++;
    b->stone[p] = (trigo_stone){(uint16_t)p, (uint16_t)p, 1, b->room[p]};
    for (uint32_t e = b->edges[p]; e; e &= e - 1) {
        uint32_t q = neighbour(b, p, e), head = b->stone[q].head;
        if (b->colour[q] == mover && head != b->stone[p].head)
            step->joined[step->n_joined++] = join(b, b->stone[p].head, head);
    }
    for (uint32_t e = b->edges[p]; e; e &= e - 1) {
        uint32_t q = neighbour(b, p, e), head = b->stone[q].head;
        if (b->colour[q] != trigo_other(mover) || b->stone[head].libs) continue;
        lift(b, head, true);
        step->taken[step->n_taken++] = (uint16_t)head;
        step->captured += b->stone[head].size;
    }
}

static void undrop(trigo_board *b, const trigo_step *step)
{
    uint32_t p = step->move;
    for (uint32_t i = step->n_taken; i-- > 0;) lift(b, step->taken[i], false);
    for (uint32_t i = step->n_joined; i-- > 0;) split(b, step->joined[i]);
    b->now.stones[b->now.to_move]--;
    b->colour[p] = TRIGO_EMPTY;
    touch_neighbours(b, p, +1);
    b->stone[p] = step->under;
}

trigo_verdict trigo_board_play(trigo_board *board, trigo_move move, trigo_step *step)
{
    struct trigo_state *now = &board->now;
    if (trigo_board_ended(board)) return TRIGO_ENDED;
    trigo_step unwanted;
    if (!step) step = &unwanted;
    if (move != TRIGO_PASS && move != TRIGO_RESIGN) {
        trigo_verdict verdict = trigo_board_drop(board, move);
        if (verdict) return verdict;
    }
    step->move = move;
    step->ko = now->ko;
    step->passes = now->passes;
    step->captured = step->n_joined = step->n_taken = 0;
    now->ko = TRIGO_NONE;
    if (move == TRIGO_PASS) {
        now->passes++;
    } else if (move == TRIGO_RESIGN) {
        now->resigned = now->to_move;
    } else {
        drop(board, move, step);
        now->passes = 0;
        if (step->captured == 1) now->ko = step->taken[0];
    }
    now->to_move = trigo_other(now->to_move);
    now->ply++;
    return TRIGO_LEGAL;
}

void trigo_board_undo(trigo_board *board, const trigo_step *step)
{
    struct trigo_state *now = &board->now;
    now->ply--;
    now->to_move = trigo_other(now->to_move);
    if (step->move == TRIGO_RESIGN)
        now->resigned = TRIGO_EMPTY;
    else if (step->move != TRIGO_PASS)
        undrop(board, step);
    now->ko = step->ko;
    now->passes = step->passes;
}

static int ascending(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

void trigo_board_captured(const trigo_board *board, const trigo_step *step, uint16_t *cells)
{
    size_t n = 0;
    for (uint32_t i = 0; i < step->n_taken; i++) {
        uint32_t p = step->taken[i];
        do {
            cells[n++] = (uint16_t)p;
            p = board->stone[p].next;
        } while (p != step->taken[i]);
    }
    qsort(cells, n, sizeof *cells, ascending);
}

/* ---- area ------------------------------------------------------------------------------------ */

typedef struct flood {
    uint64_t seen[(TRIGO_MAX_CELLS + 63) / 64];
    uint16_t stack[TRIGO_MAX_CELLS];
} flood;

/* Walk the empty region of p. Returns its size and sets the colours that it borders: a bit mask of
 * 1 << trigo_colour. */
static uint32_t walk_region(const trigo_board *b, flood *f, uint32_t start, uint32_t *borders)
{
    uint32_t n = 0, top = 0;
    *borders = 0;
    f->seen[start / 64] |= 1ull << start % 64;
    f->stack[top++] = (uint16_t)start;
    while (top) {
        uint32_t p = f->stack[--top];
        n++;
        for (uint32_t e = b->edges[p]; e; e &= e - 1) {
            uint32_t q = neighbour(b, p, e);
            if (b->colour[q]) {
                *borders |= 1u << b->colour[q];
            } else if (!(f->seen[q / 64] >> q % 64 & 1)) {
                f->seen[q / 64] |= 1ull << q % 64;
                f->stack[top++] = (uint16_t)q;
            }
        }
    }
    return n;
}

/* The area, or as much of it as is known when the first neutral region is met. */
static trigo_area count_area(const trigo_board *b, bool stop_at_neutral)
{
    trigo_area area = {b->now.stones[TRIGO_BLACK], b->now.stones[TRIGO_WHITE], 0};
    flood f;
    memset(f.seen, 0, (b->cells + 63u) / 64 * sizeof *f.seen);
    for (uint32_t p = 0; p < b->cells; p++) {
        if (b->colour[p] || f.seen[p / 64] >> p % 64 & 1) continue;
        uint32_t borders, n = walk_region(b, &f, p, &borders);
        if (borders == 1u << TRIGO_BLACK)
            area.black += n;
        else if (borders == 1u << TRIGO_WHITE)
            area.white += n;
        else
            area.neutral += n;
        if (area.neutral && stop_at_neutral) break;
    }
    return area;
}

trigo_area trigo_board_area(const trigo_board *board)
{
    return count_area(board, false);
}

double trigo_area_value(trigo_area area)
{
    double d = (double)area.white - (double)area.black;
    return d == 0 ? 0 : copysign(1 + log(fabs(d)), d);
}

bool trigo_board_terminal(const trigo_board *board, double *value)
{
    const uint16_t *stones = board->now.stones;
    uint32_t black = stones[TRIGO_BLACK], white = stones[TRIGO_WHITE];
    bool ended = trigo_board_ended(board);
    if (!ended && (!black || !white || 2 * (black + white) <= board->cells)) return false;
    trigo_area area = count_area(board, !ended);
    if (!ended && area.neutral) return false;
    if (value) *value = trigo_area_value(area);
    return true;
}

trigo_colour trigo_board_winner(const trigo_board *board)
{
    if (!trigo_board_ended(board)) return TRIGO_EMPTY;
    if (board->now.resigned) return trigo_other(board->now.resigned);
    trigo_area area = trigo_board_area(board);
    uint32_t black = area.black + board->now.captured[TRIGO_WHITE];
    uint32_t white = area.white + board->now.captured[TRIGO_BLACK];
    return black > white ? TRIGO_BLACK : white > black ? TRIGO_WHITE : TRIGO_EMPTY;
}
