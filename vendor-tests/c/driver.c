/* Plays the library: makes an entry and calls the registered callback with it. */
#include <stddef.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>

typedef int (*callback)(enum nf_conntrack_msg_type type, struct nf_conntrack *ct, void *data);

/* With nothing set but, if value is not NULL, one attribute. */
int drive_attribute(callback cb, void *data, int type, int attribute, const void *value)
{
	struct nf_conntrack *ct = nfct_new();
	int verdict;

	if (ct == NULL)
		return -100;
	if (value != NULL)
		nfct_set_attr(ct, attribute, value);
	verdict = cb(type, ct, data);
	nfct_destroy(ct);
	return verdict;
}
