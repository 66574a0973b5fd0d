/* core.c: SQLite as the core has it: the amalgamation, and a way to its scratch memory, which has no door from outside.
 *
 * A cell is put together in a page of scratch that the b-tree keeps for as long as the database is open, a page is put in
 * order in another, and small pieces of memory are kept for the next statement; so the last records written, keys among
 * them, would stay there after they were deleted. */
#include "sqlite3.c"

void sqlite3_wipe_scratch(sqlite3 *db);
void sqlite3_wipe_scratch(sqlite3 *db) {
    const Btree *tree = db->aDb[0].pBt;
    if (tree != NULL && tree->pBt->pTmpSpace != NULL)
        memset(tree->pBt->pTmpSpace, 0, tree->pBt->pageSize - 4); /* it begins 4 bytes after its allocation */
    if (tree != NULL && tree->pBt->pPager->pTmpSpace != NULL)
        memset(tree->pBt->pPager->pTmpSpace, 0, (size_t)tree->pBt->pPager->pageSize);
    for (LookasideSlot *s = db->lookaside.pFree; s != NULL; s = s->pNext)
        memset(s + 1, 0, db->lookaside.szTrue - sizeof *s);
    for (LookasideSlot *s = db->lookaside.pSmallFree; s != NULL; s = s->pNext)
        memset(s + 1, 0, LOOKASIDE_SMALL - sizeof *s);
}
