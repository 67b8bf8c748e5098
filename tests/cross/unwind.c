/* What GCC's unwinder, as Debian builds it for glibc, needs of musl. Without it
 * a panic ends the server and not the session. */
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>

/* It names these weakly, and a weak name brings nothing out of a static libc. */
__attribute__((used)) static void *const threads[] = {
	pthread_once,		pthread_key_create,   pthread_getspecific,
	pthread_setspecific,	pthread_mutex_lock,   pthread_mutex_unlock,
};

/* It asks for the object that an address lies in; this looks through what
 * dl_iterate_phdr(3) shows. The structure is glibc's, from dlfcn.h. */

struct find_object {
	unsigned long long flags;
	void *map_start, *map_end;
	struct link_map *link_map;
	void *eh_frame;
	unsigned long long reserved[7];
};

struct search {
	ElfW(Addr) address;
	struct find_object *found;
};

static int look(struct dl_phdr_info *info, size_t size, void *data)
{
	struct search *search = data;
	ElfW(Addr) start = 0, end = 0, eh_frame = 0;

	(void)size;
	for (int at = 0; at < info->dlpi_phnum; at++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[at];
		ElfW(Addr) begin = info->dlpi_addr + part->p_vaddr;

		if (part->p_type == PT_LOAD && search->address >= begin &&
		    search->address < begin + part->p_memsz) {
			start = begin;
			end = begin + part->p_memsz;
		}
		if (part->p_type == PT_GNU_EH_FRAME)
			eh_frame = begin;
	}
	if (!start || !eh_frame)
		return 0;
	search->found->flags = 0;
	search->found->map_start = (void *)start;
	search->found->map_end = (void *)end;
	search->found->link_map = 0;
	search->found->eh_frame = (void *)eh_frame;
	return 1;
}

int _dl_find_object(void *address, struct find_object *found)
{
	struct search search = { (ElfW(Addr))address, found };

	return dl_iterate_phdr(look, &search) ? 0 : -1;
}
