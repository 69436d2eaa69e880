@echo off
rem SPDX-License-Identifier: GPL-2.0-or-later
rem Run one step, and note its status when it ends: one.cmd NAME, from run.cmd alone.
rem In a process of its own: many scripts end by "exit".
"%SystemRoot%\System32\cmd.exe" /d /q /c "%HERE%scripts\%~1.cmd"
set "CODE=%ERRORLEVEL%"
>"%STATE%\%~1.new" echo %CODE%
move /y "%STATE%\%~1.new" "%STATE%\%~1.exit" >nul
exit 0
