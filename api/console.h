/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h: the monitor's own standard input and output as the guest's serial
 * console: never blocking, and raw if they are a terminal. Loop thread.
 */
#ifndef API_CONSOLE_H
#define API_CONSOLE_H

/*
 * Output must not block: the log goes there too, from the start of the process
 * on, and a reader may stop reading.
 */
void console_open_output(void);

/* Input, once there is a guest to read it. */
void console_open_input(void);

/* Undo all that; safe in a signal handler. */
void console_close(void);

#endif
