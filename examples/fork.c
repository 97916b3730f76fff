/* fork.c - two branches of one prompt: the model reads "500+" once, and each branch ends the sum
 * in its own way. A fork copies nothing: it is one more finger in the tree. */
#include <kvfork.h>
#include <stdio.h>

static kvf_status answer(kvf_seq *seq, const char *rest, kvf_error *err)
{
    static float logits[128];
    int32_t token = 0;
    kvf_status status = KVF_OK;
    for (printf("500+%s", rest); *rest && !status; rest++) {
        token = *rest; /* this model's tokens are bytes */
        status = kvf_seq_forward(seq, &token, 1, KVF_LAST_ROW, logits, err);
    }
    while (!status && token != '\n') {
        for (int32_t i = token = 0; i < 128; i++)
            if (logits[i] > logits[token]) token = i;
        putchar(token);
        status = kvf_seq_forward(seq, &token, 1, KVF_LAST_ROW, logits, err);
    }
    return status;
}

int main(int argc, char **argv)
{
    const int32_t prompt[] = {'5', '0', '0', '+'};
    kvf_model *model;
    kvf_tree *tree = NULL;
    kvf_seq *a = NULL, *b = NULL;
    kvf_error err;
    kvf_status status =
        kvf_model_open(&model, argc > 1 ? argv[1] : "models/adder/adder.onnx", NULL, &err);
    if (!status) status = kvf_tree_create(&tree, model, NULL, &err);
    if (!status) status = kvf_seq_create(&a, tree, &err);
    if (!status) status = kvf_seq_forward(a, prompt, 4, KVF_NO_ROWS, NULL, &err);
    if (!status) status = kvf_seq_fork(&b, a, &err);
    if (!status) status = answer(a, "500=", &err);
    if (!status) status = answer(b, "123=", &err);
    if (status) fprintf(stderr, "%s: %s\n", kvf_status_name(status), err.msg);
    kvf_seq_destroy(b);
    kvf_seq_destroy(a);
    kvf_tree_destroy(tree);
    kvf_model_close(model);
    return status != KVF_OK;
}
