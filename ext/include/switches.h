/* Special paths of the kernels, to be left out for a measurement: CFLAGS=-DSCHUSS_PACKED=0.
   docs/internals/kernels.md says what each gains. */
#ifndef SCHUSS_SWITCHES_H
#define SCHUSS_SWITCHES_H

#ifndef SCHUSS_ALIGNMENT_PHASES /* long rows and columns are read from boundaries on */
#define SCHUSS_ALIGNMENT_PHASES 1
#endif
#ifndef SCHUSS_SHORT_ROWS /* weights and sums of up to 16 registers stay in registers */
#define SCHUSS_SHORT_ROWS 1
#endif
#ifndef SCHUSS_NARROW_ROWS /* rows of less than a register are shuffled, or loaded whole */
#define SCHUSS_NARROW_ROWS 1
#endif
#ifndef SCHUSS_FEW_COLUMNS /* scores, losses and sums of up to 16 columns in one loop */
#define SCHUSS_FEW_COLUMNS 1
#endif
#ifndef SCHUSS_PACKED /* small X is copied into panels of registers of rows */
#define SCHUSS_PACKED 1
#endif
#ifndef SCHUSS_NARROW_PANELS /* weights and sums of up to 3 features of packed X stay in registers */
#define SCHUSS_NARROW_PANELS 1
#endif
#ifndef SCHUSS_NARROW_DESCENT /* and stay there from epoch to epoch */
#define SCHUSS_NARROW_DESCENT 1
#endif
#ifndef SCHUSS_REPEATED_ROWS /* up to four rows are repeated in a register, for shorter sums */
#define SCHUSS_REPEATED_ROWS 1
#endif
#ifndef SCHUSS_PREFETCH_ROWS
#define SCHUSS_PREFETCH_ROWS 1
#endif
#ifndef SCHUSS_PREFETCH_COLUMNS
#define SCHUSS_PREFETCH_COLUMNS 1
#endif
#ifndef SCHUSS_PREFETCH_ENTRIES /* of CSR */
#define SCHUSS_PREFETCH_ENTRIES 1
#endif
#ifndef SCHUSS_WIDENING /* float16, uint8 and int8 by instructions of their own */
#define SCHUSS_WIDENING 1
#endif
#ifndef SCHUSS_CODES_LOOP /* 8-bit class codes in order are read by a loop of their own */
#define SCHUSS_CODES_LOOP 1
#endif

#endif
