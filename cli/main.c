/* main.c - the program kvfork: a table of subcommands. */
#include "cmd.h"

#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *line;
} commands[] = {
    {"info", cmd_info, "what a model is, and which engine would run it"},
    {"run", cmd_run, "generate tokens"},
    {"eval", cmd_eval, "write the logits of a sequence and its branches to a file"},
    {"bench", cmd_bench, "measure what the cache is worth"},
    {"check", cmd_check, "compare two engines, or an engine with recorded logits"},
    {"export", cmd_export, "write a checkpoint, or random weights from a seed, as ONNX"},
};

static void print_help(FILE *to)
{
    fputs("kvfork runs transformer decoders in ONNX files with a key/value cache that branches.\n\n"
          "usage: kvfork COMMAND ...\n\n",
          to);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].line);
    fputs("\nkvfork COMMAND --help explains each. Exit status: 0 done, 1 failed, 2 wrong usage,\n"
          "3 verification failed.\n",
          to);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "-h") || !strcmp(name, "--help") || !strcmp(name, "help")) {
        print_help(stdout);
        return EXIT_DONE;
    }
    if (!strcmp(name, "--version")) {
        printf("kvfork %s\n", kvf_version());
        return EXIT_DONE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(name, commands[i].name)) {
            int status = commands[i].run(argc - 1, argv + 1);
            /* What stdout did not take (a full disk, a closed pipe) is a failure too. */
            if (fflush(stdout) || ferror(stdout)) {
                perror("kvfork: standard output");
                return status ? status : EXIT_FAILED;
            }
            return status;
        }
    if (argc > 1) fprintf(stderr, "kvfork: there is no command \"%s\"\n", name);
    print_help(stderr);
    return EXIT_USAGE;
}
