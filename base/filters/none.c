/* SPDX-License-Identifier: Apache-2.0 */
/*
 * none.c: no filters. Sanitizers and dynamic linkers make calls that no table
 * of ours has, so only static programs have filters.
 */
#include "base/filter.h"

const struct filter filter_builtin[FILTER_ROLES] = {{NULL, 0}};
