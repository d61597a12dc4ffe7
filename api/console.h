/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h: the monitor's own standard input and output as the guest's serial
 * console: never blocking, and raw if they are a terminal. Loop thread.
 */
#ifndef API_CONSOLE_H
#define API_CONSOLE_H

#include <stdbool.h>

/* Output goes to a file instead: only input is changed. */
void console_open(bool output_elsewhere);

/* Undo what console_open() did; nothing if it was not called. */
void console_close(void);

#endif
