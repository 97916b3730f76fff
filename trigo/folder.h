/* folder.h - the files of a generation, and how they come to be.
 *
 *     OUT/generation.json          what all games have in common; written when the first begins
 *     OUT/00000000.jsonl           games 0 to 63, a line each
 *     OUT/00000000.npz             the same as arrays, see samples.h
 *     OUT/tgn/00000000.tgn ...     the same as text, a file each
 *     OUT/00000064.playing/        the games from 64 on, of which some are missing:
 *         00000070.json            a finished one
 *         lock                     held by the process that plays them
 *
 * The games of one .jsonl are a block, and a block is played by one process. Files are written under
 * another name, and take their own when they are whole; of a block's, the .jsonl is the last. So
 * whatever process is killed whenever, no name stands for a broken file, a finished game stays, and
 * who plays on knows what is missing from the names alone. Everything in a .playing folder but
 * finished games may go at any time. */
#ifndef TRIGO_FOLDER_H
#define TRIGO_FOLDER_H

#include <stdio.h>

#include "output.h"
#include "trigo/samples.h"

/* ---- a generation ---------------------------------------------------------------------------- */

/* Make the folder if it is not there, and write the generation down or check that it is the one
 * written down; g has been described. Several processes may do so at once. Errors: KVF_ERR_IO,
 * KVF_ERR_NOMEM, KVF_ERR_ARG (which field differs). */
kvf_status trigo_folder_open(const char *folder, const trigo_generation *g, kvf_error *err);

/* The path of folder/name, where "%08llu" in name stands for the number. Free it with kvf_free;
 * NULL if memory is out. */
char *trigo_folder_path(const char *folder, const char *name, uint64_t number);

/* Remove a file, or a folder with what is in it; links are not followed. What is not there is fine.
 * Errors: KVF_ERR_IO. */
kvf_status trigo_folder_remove(const char *path, kvf_error *err);

/* How many games there are in the block that begins with the game `first`. */
uint32_t trigo_block_count(const trigo_generation *g, uint64_t first);

/* ---- a block that is played ------------------------------------------------------------------ */

typedef struct trigo_block {
    const char *folder; /* borrowed, as the generation */
    const trigo_generation *g;
    char *playing; /* its own folder */
    uint64_t first;
    uint32_t count, missing; /* games */
    bool *finished;          /* [count] */
    int lock;                /* file descriptor, or -1 */
} trigo_block;

/* Take a block to play what is missing of it.
 *
 * out     set on KVF_OK, to NULL if the block is finished; close it with trigo_block_close
 * Errors  KVF_ERR_IO (another process plays it; a file is not what its name says), KVF_ERR_NOMEM,
 *         KVF_ERR_ARG (a finished game is none of this generation) */
kvf_status trigo_block_open(trigo_block **out, const char *folder, const trigo_generation *g,
                            uint64_t first, kvf_error *err);
void trigo_block_close(trigo_block *block); /* NULL is fine; what is finished stays */

/* Write a finished game. May be called by several threads at once; counting is the caller's:
 * `finished` and `missing` are not touched. Errors: KVF_ERR_IO, KVF_ERR_NOMEM. */
kvf_status trigo_block_add(const trigo_block *block, const trigo_played *played, kvf_error *err);

/* Give a block of which no game is missing its files, and the lock back. Errors: KVF_ERR_IO,
 * KVF_ERR_NOMEM, KVF_ERR_ARG (a game's file was changed meanwhile). */
kvf_status trigo_block_finish(trigo_block *block, kvf_error *err);

/* ---- a block that is written ----------------------------------------------------------------- */

typedef struct trigo_block_writer {
    const char *folder; /* borrowed, as the generation */
    const trigo_generation *g;
    uint64_t first;
    kvf_output lines;
    trigo_samples samples;
} trigo_block_writer;

/* Write a block's files into a folder that has a folder tgn: begin, its games in order, end. If
 * one of them fails, or it is not to be ended: abandon. Errors: KVF_ERR_IO, KVF_ERR_NOMEM. */
kvf_status trigo_block_begin(trigo_block_writer *w, const char *folder, const trigo_generation *g,
                             uint64_t first, kvf_error *err);
kvf_status trigo_block_write(trigo_block_writer *w, const trigo_played *played, kvf_error *err);
kvf_status trigo_block_end(trigo_block_writer *w, kvf_error *err); /* abandons if it fails */
void trigo_block_abandon(trigo_block_writer *w);                   /* zeroed is fine */

#endif
