/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each node keeps its first child, its next sibling, and as prev its previous
 * sibling, or its parent if it is a first child.
 */
#include "base/timers.h"

static bool before(const struct loop_timer *a, const struct loop_timer *b)
{
	if (a->deadline_ns != b->deadline_ns)
		return a->deadline_ns < b->deadline_ns;
	return a->seq < b->seq;
}

/* Make one tree of two; either may be NULL. */
static struct loop_timer *meld(struct loop_timer *a, struct loop_timer *b)
{
	if (!a || !b)
		return a ? a : b;
	if (before(b, a)) {
		struct loop_timer *t = a;

		a = b;
		b = t;
	}
	b->prev = a;
	b->next = a->child;
	if (b->next)
		b->next->prev = b;
	a->child = b;
	return a;
}

/* Make one tree of the siblings that begin with t: pairs first, then all. */
static struct loop_timer *meld_all(struct loop_timer *t)
{
	struct loop_timer *pairs = NULL;
	struct loop_timer *root = NULL;

	while (t) {
		struct loop_timer *second = t->next;
		struct loop_timer *rest = second ? second->next : NULL;
		struct loop_timer *pair;

		t->next = NULL;
		if (second)
			second->next = NULL;
		pair = meld(t, second);
		pair->next = pairs;
		pairs = pair;
		t = rest;
	}
	while (pairs) {
		struct loop_timer *rest = pairs->next;

		pairs->next = NULL;
		root = meld(root, pairs);
		pairs = rest;
	}
	if (root)
		root->prev = NULL;
	return root;
}

void timers_add(struct timers *h, struct loop_timer *t)
{
	t->seq = h->seq++;
	t->child = NULL;
	t->next = NULL;
	t->prev = NULL;
	h->first = meld(h->first, t);
}

void timers_remove(struct timers *h, struct loop_timer *t)
{
	struct loop_timer *below = meld_all(t->child);

	if (t == h->first) {
		h->first = below;
		return;
	}
	if (t->prev->child == t)
		t->prev->child = t->next;
	else
		t->prev->next = t->next;
	if (t->next)
		t->next->prev = t->prev;
	h->first = meld(h->first, below);
}
