/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_mmds.h: a metadata service that only remembers, in place of the real
 * one, for a program with one interface.
 */
#ifndef TESTS_VIRTIO_FAKE_MMDS_H
#define TESTS_VIRTIO_FAKE_MMDS_H

#include <string.h>

#include "virtio/mmds/mmds.h"
#include "virtio/net.h"

/* The metadata service: frames to the address 7... are for it. */
struct mmds_net {
	void (*output)(void *arg);
	void *arg;
	uint8_t in[NET_FRAME_MAX];
	size_t in_len;
	bool checked;
	unsigned int inputs, pauses, resumes, resets;
	size_t out_len[4]; /* of frames to hand out */
	unsigned int n_out;
	bool echo; /* answer each frame by one of its length */
};

static struct mmds_net fake_mmds;

int mmds_net_new(struct mmds_net **out, struct mmds *m, struct loop *l,
		 void (*output)(void *arg), void *arg, struct err *e)
{
	(void)m;
	(void)l;
	(void)e;
	fake_mmds = (struct mmds_net){.output = output, .arg = arg};
	*out = &fake_mmds;
	return 0;
}

void mmds_net_free(struct mmds_net *n)
{
	(void)n;
}

bool mmds_net_wants(const struct mmds_net *n, const uint8_t *head, size_t len)
{
	(void)n;
	return len >= 14 && head[0] == 7;
}

static inline void mmds_hands_out(size_t len)
{
	fake_mmds.out_len[fake_mmds.n_out++] = len;
	fake_mmds.output(fake_mmds.arg);
}

void mmds_net_input(struct mmds_net *n, const uint8_t *frame, size_t len,
		    bool checked)
{
	n->inputs++;
	memcpy(n->in, frame, len);
	n->in_len = len;
	n->checked = checked;
	if (n->echo)
		mmds_hands_out(len);
}

size_t mmds_net_output(struct mmds_net *n, uint8_t buf[MMDS_FRAME_MAX])
{
	size_t len;

	if (n->n_out == 0)
		return 0;
	len = n->out_len[0];
	n->n_out--;
	memmove(n->out_len, n->out_len + 1, n->n_out * sizeof(size_t));
	memset(buf, 0x77, len);
	return len;
}

void mmds_net_pause(struct mmds_net *n)
{
	n->pauses++;
}

void mmds_net_resume(struct mmds_net *n)
{
	n->resumes++;
}

void mmds_net_reset(struct mmds_net *n)
{
	n->resets++;
	n->n_out = 0;
}

#endif
