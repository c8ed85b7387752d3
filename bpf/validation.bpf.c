/* Blocks connected to the chain. */

#include "common.h"

RING(validation);

SEC("usdt")
int BPF_USDT(block_connected, void *hash, s32 height, u64 transactions, s32 inputs, s64 sigops, s64 duration)
{
	struct block_connected *r = RESERVE(validation, struct block_connected, DROP_VALIDATION);

	if (!r)
		return 0;
	begin(&r->head, BLOCK_CONNECTED);
	read_hash(&r->head, r->hash, hash);
	r->transactions = transactions;
	r->sigops = sigops;
	r->duration = duration;
	r->height = height;
	r->inputs = inputs;
	SUBMIT(r);
	return 0;
}
