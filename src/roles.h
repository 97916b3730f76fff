/* roles.h - which input or output plays which role: by a map, by name, by use, by shape. */
#ifndef KVF_ROLES_H
#define KVF_ROLES_H

#include "model.h"

/* Fill contract->inputs and ->outputs. Inputs that keep KVF_ROLE_NONE make a graph unusable;
 * outputs that do are left alone. */
kvf_status kvf_assign_roles(kvf_contract *contract, const kvf_onnx *onnx, const char *names,
                            kvf_error *err);
/* Whether a map is one of roles, for any graph. Errors  KVF_ERR_ARG, KVF_ERR_NOMEM */
kvf_status kvf_check_role_map(const char *names, kvf_error *err);
/* A declared shape in words: "float32 [batch, 2, past, 8]". */
const char *kvf_describe(const kvf_shape *shape, char *text, size_t size);
#endif
