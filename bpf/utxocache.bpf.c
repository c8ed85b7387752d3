/* The cache of unspent outputs: flushes, and on request each coin that comes or goes. */

#include "common.h"

RING(utxocache);

SEC("usdt")
int BPF_USDT(utxocache_flush, s64 duration, u32 mode, u64 coins, u64 bytes, u32 prune)
{
	struct utxo_flush *r = RESERVE(utxocache, struct utxo_flush, DROP_UTXOCACHE);

	if (!r)
		return 0;
	begin(&r->head, UTXO_FLUSH);
	r->duration = duration;
	r->coins = coins;
	r->bytes = bytes;
	r->mode = mode;
	r->prune = prune != 0;
	SUBMIT(r);
	return 0;
}

static __always_inline int send_coin(u16 kind, void *txid, u32 vout, u32 height, s64 value, u32 coinbase)
{
	struct utxo_coin *r = RESERVE(utxocache, struct utxo_coin, DROP_UTXOCACHE);

	if (!r)
		return 0;
	begin(&r->head, kind);
	read_hash(&r->head, r->txid, txid);
	r->value = value;
	r->vout = vout;
	r->height = height;
	r->coinbase = coinbase != 0;
	r->hole = 0;
	SUBMIT(r);
	return 0;
}

SEC("usdt")
int BPF_USDT(utxocache_add, void *txid, u32 vout, u32 height, s64 value, u32 coinbase)
{
	return send_coin(UTXO_ADD, txid, vout, height, value, coinbase);
}

SEC("usdt")
int BPF_USDT(utxocache_spent, void *txid, u32 vout, u32 height, s64 value, u32 coinbase)
{
	return send_coin(UTXO_SPENT, txid, vout, height, value, coinbase);
}

SEC("usdt")
int BPF_USDT(utxocache_uncache, void *txid, u32 vout, u32 height, s64 value, u32 coinbase)
{
	return send_coin(UTXO_UNCACHE, txid, vout, height, value, coinbase);
}
