/* omitted.c: what the amalgamation's parser, made for all of SQL, still calls of the statements that config.h leaves out.
 * All SQL is ours and has none of them; one that had would stop here in its first test. The parameters are those of
 * sqlite3.c, since wasm calls nothing by another signature. */
#include <stdlib.h>

#define OMITTED(name, ...)                                                                                             \
    void name(__VA_ARGS__);                                                                                            \
    void name(__VA_ARGS__) { abort(); }

OMITTED(sqlite3Analyze, void *, void *, void *)
OMITTED(sqlite3Reindex, void *, void *, void *)
OMITTED(sqlite3AlterRenameTable, void *, void *, void *)
OMITTED(sqlite3AlterRenameColumn, void *, void *, void *, void *)
OMITTED(sqlite3AlterBeginAddColumn, void *, void *)
OMITTED(sqlite3AlterFinishAddColumn, void *, void *)
OMITTED(sqlite3AlterDropColumn, void *, void *, const void *)
OMITTED(sqlite3AlterDropConstraint, void *, void *, void *, void *)
OMITTED(sqlite3AlterSetNotNull, void *, void *, void *, void *)
OMITTED(sqlite3AlterAddConstraint, void *, void *, void *, void *, const char *, int, void *)
