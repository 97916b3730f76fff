/* player.h - who chooses moves: at random, by a network's first thought, or by a search.
 *
 *     random                            any legal move, Pass too
 *     uniform:sims=400                  a search that knows the rules and nothing else
 *     models/trigo                      a search that asks a network
 *     models/trigo:sims=0               the move that the network finds most likely
 *     models/trigo:sims=0,temperature=1 one drawn from its priors
 *
 * All of them are one thing: an evaluator, and how long a position is thought about. `random` is
 * `uniform:sims=0,temperature=1`.
 *
 *     trigo_kind     what such a text names: options, and the open model; any number of threads
 *     trigo_player   one who plays so, with a cache and a search tree of its own; one thread
 *
 * A player is handed the game each time and finds out what was played since. As long as moves were
 * added only, its tree goes on from there; else it begins anew. So nobody has to tell it of moves,
 * of undo or of another game. */
#ifndef TRIGO_PLAYER_H
#define TRIGO_PLAYER_H

#include "trigo/network.h"
#include "trigo/search.h"

typedef struct trigo_kind trigo_kind;
typedef struct trigo_player trigo_player;

enum { TRIGO_PLAYER_SIMS = 100 }; /* unless it is said otherwise */

/* For the help of every command that takes players. */
#define TRIGO_PLAYER_USAGE                                                                            \
    "A player is one word, and options behind a colon if there are any:\n"                            \
    "  random             any legal move, each as likely\n"                                           \
    "  uniform[:OPTIONS]  a search that knows the rules and nothing else\n"                           \
    "  DIR[:OPTIONS]      the network in a folder, alone or with a search; ./random for a folder\n"   \
    "                     of that name, and a colon behind one that has a colon in its name\n"        \
    "OPTIONS are, with commas between them:\n"                                                        \
    "  sims=N             simulations: visits of the position, those that are left from the search\n" \
    "                     for an earlier move included (default 100; without limit if there is\n"     \
    "                     time=); 0: no search, but the likeliest move\n"                             \
    "  time=SECONDS       end the search after so long; moves then depend on the clock\n"             \
    "  temperature=T      draw moves with probability ~ visits^(1/T), or ~ P^(1/T) if sims=0\n"       \
    "                     (default 0: the most visited one)\n"                                        \
    "  temperature-plies=N  do so only in the first N plies of a game\n"                              \
    "  c-puct=C           how much the search explores (default 1)\n"                                 \
    "  batch=N            questions that the search puts together (default 4)\n"                      \
    "  noise=ALPHA        mix Dirichlet noise into the priors of the position\n"                      \
    "  noise-share=S      that much of it (default 0.25)\n"                                           \
    "  set, engine, device, precision, cpu, threads, cache-tokens, no-cache\n"                        \
    "                     of the network, as in `trigo analyze --help`: engine=ort,no-cache\n"        \
    "Examples: random  uniform:sims=400  models/trigo:sims=0,temperature=0.5\n"                       \
    "          models/trigo:time=2,engine=native,precision=bf16\n"

/* ---- kinds ----------------------------------------------------------------------------------- */

/* Read how a player is named. Nothing is opened yet.
 *
 * out     set on KVF_OK, else NULL; free it with trigo_kind_close
 * Errors  KVF_ERR_ARG: which option, what it is, what it should be; KVF_ERR_NOMEM */
kvf_status trigo_kind_read(trigo_kind **out, const char *text, kvf_error *err);

/* Open its model, if it has one, before the first player is created.
 *
 * threads  of one forward pass unless the text says; 0: the processors there are
 * Errors   those of trigo_models_open */
kvf_status trigo_kind_open(trigo_kind *kind, uint32_t threads, kvf_error *err);
void trigo_kind_close(trigo_kind *kind); /* NULL is fine; after its players */

const char *trigo_kind_text(const trigo_kind *kind); /* as it was read */

/* ---- players --------------------------------------------------------------------------------- */

/* Seat a player.
 *
 * out     set on KVF_OK, else NULL; free it with trigo_player_destroy
 * kind    open; must outlive the player
 * Memory  a cache of tokens if it has a network; a search's nodes as they come
 * Errors  those of trigo_policy_create */
kvf_status trigo_player_create(trigo_player **out, const trigo_kind *kind, kvf_error *err);
void trigo_player_destroy(trigo_player *player); /* NULL is fine */

/* Forget all games, and draw the random numbers of the next one from this seed. Equal seeds choose
 * equally in equal games: always with the native engine, up to rounding with others, and never
 * against the clock. */
void trigo_player_begin(trigo_player *player, uint64_t seed);

typedef struct trigo_choice {
    trigo_move move;     /* legal; TRIGO_NONE if the game is too long for the network */
    double value;        /* of the position, White's: W/N after a search, else the evaluator's */
    uint32_t visits;     /* of the position; 0 without a search */
    bool decided;        /* the search ends here (trigo_board_terminal), so it passes */
    bool out_of_context; /* the game is too long for the network */
} trigo_choice;

/* Choose a move for the side to move.
 *
 * game     has not ended; not changed
 * seconds  end a search after so long, if its kind does not do so earlier; 0: no such limit
 * Errors   KVF_ERR_ARG (the game has ended), those of the evaluator, KVF_ERR_NOMEM; the player may
 *          be asked again */
kvf_status trigo_player_choose(trigo_player *player, const trigo_game *game, double seconds,
                               trigo_choice *choice, kvf_error *err);

/* What the last choice was made from: the candidates in their order, without visits if nothing was
 * searched; none if the position was decided. The player's own, good until it is asked again. */
const trigo_search_child *trigo_player_children(const trigo_player *player, uint32_t *n);

#endif
