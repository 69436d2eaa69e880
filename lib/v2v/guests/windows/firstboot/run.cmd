@echo off
rem SPDX-License-Identifier: GPL-2.0-or-later
rem Do what v2v left for the guest itself, at its first boots.
rem
rem Steps are scripts\1-*.cmd (drivers) and scripts\2-*.cmd (all else); one that has a
rem NAME.required beside it makes the whole fail with it.  What was tried is noted as
rem files in state\, made before the try: a step that takes the machine down counts.
rem No step is tried more than 3 times, and there are 5 boots at most; then all of this
rem removes itself.  log.txt and complete (JSON) stay.  For cmd.exe of XP and later.
rem
rem No text of the guest is echoed: only names of steps and numbers, which v2v made.
rem Given by tests alone: run.cmd PROGRAMS LIMIT PORT
setlocal EnableExtensions DisableDelayedExpansion
set "HERE=%~dp0"
set "SYS=%~1"
set "LIMIT=%~2"
set "PORT=%~3"
rem A process of 32 bits sees the real System32 as Sysnative; no other has that folder.
if not defined SYS if exist "%SystemRoot%\Sysnative\cmd.exe" set "SYS=%SystemRoot%\Sysnative"
if not defined SYS set "SYS=%SystemRoot%\System32"
if not defined LIMIT set "LIMIT=360"
if not defined PORT set "PORT=COM1"
set "LOG=%HERE%log.txt"
set "STATE=%HERE%state"
set "FILES=%HERE%files"
set "BOOT="
set "REBOOT="
set "PENDING="
set "RESULT=ok"
cd /d "%HERE%"

rem Whatever happens below, the next boot of a guest that was prepared by Setup's
rem command line is an ordinary one, unless more is to be done.
if exist "%HERE%setup" call :setup_type 0
if not exist "%STATE%" mkdir "%STATE%"
if not exist "%HERE%done" mkdir "%HERE%done"
if not exist "%HERE%failed" mkdir "%HERE%failed"
if exist "%HERE%complete" goto leave
rem Of the boot before: that it wanted a restart, and what it left behind hanging.
for %%F in (restart hung) do if exist "%STATE%\%%F" del /f /q "%STATE%\%%F"
for %%N in (1 2 3 4 5) do if not defined BOOT if not exist "%STATE%\boot.%%N" set "BOOT=%%N"
if not defined BOOT goto exhausted
>"%STATE%\boot.%BOOT%" echo %BOOT%
rem What cannot be noted would be done at every boot for ever.
if not exist "%STATE%\boot.%BOOT%" goto exhausted
call "%SYS%\mode" %PORT%: baud=115200 parity=n data=8 stop=1 to=off xon=off odsr=off octs=off >nul 2>&1
call :say firstboot started 0
if "%BOOT%"=="1" call :settle

call :phase 1
if defined REBOOT if not "%BOOT%"=="5" goto restart
call :phase 2
if defined PENDING goto restart
goto finish

:restart
if "%BOOT%"=="5" goto exhausted
if exist "%HERE%setup" call :setup_type 2
call :say firstboot restarting 0
call :shutdown
exit 0

:exhausted
if not defined BOOT set "BOOT=5"
set "RESULT=incomplete"
call :listed "%HERE%scripts\*.cmd"
for /f "usebackq delims=" %%F in ("%STATE%\list") do call :give_up "%%F"
goto finish

:finish
call :report
rem Without a result, too (a full disk): nothing may be left to start this again.
:leave
if exist "%HERE%restore.cmd" call "%HERE%restore.cmd" >>"%LOG%" 2>&1
call "%SYS%\sc" delete v2v-firstboot >>"%LOG%" 2>&1
call "%SYS%\reg" delete "HKLM\SYSTEM\CurrentControlSet\Services\v2v-firstboot" /f >>"%LOG%" 2>&1
call :say firstboot complete 0
if exist "%STATE%\restart" call :shutdown
cd /d "%SystemRoot%"
for %%D in (scripts done failed files state) do rmdir /s /q "%HERE%%%D"
for %%F in (restore.cmd setup) do if exist "%HERE%%%F" del /f /q "%HERE%%%F"
rem In one line: cmd.exe reads a script line by line, and this one goes.
del /f /q "%HERE%one.cmd" "%~f0" & exit 0

rem --- phase N: take each of its steps
:phase
call :listed "%HERE%scripts\%1-*.cmd"
copy /y "%STATE%\list" "%STATE%\list%1" >nul
for /f "usebackq delims=" %%F in ("%STATE%\list%1") do call :take "%%F"
exit /b 0

rem --- listed PATTERN: names by order into state\list
:listed
dir /b /a-d /on "%~1" >"%STATE%\list" 2>nul
exit /b 0

rem --- take FILE: try it at this boot, unless one before it hangs
:take
set "STEP=%~n1"
if exist "%STATE%\hung" set "PENDING=1"
if exist "%STATE%\hung" exit /b 0
set "TRY="
for %%N in (1 2 3) do if not defined TRY if not exist "%STATE%\%STEP%.try%%N" set "TRY=%%N"
if not defined TRY goto take_lost
>"%STATE%\%STEP%.try%TRY%" echo %TRY%
if not exist "%STATE%\%STEP%.try%TRY%" set "PENDING=1"
if not exist "%STATE%\%STEP%.try%TRY%" exit /b 0
call :say %STEP% running %TRY%
if exist "%STATE%\%STEP%.exit" del /f /q "%STATE%\%STEP%.exit"
rem In the background, so that one that hangs can be left behind.
start "" /b "%SystemRoot%\System32\cmd.exe" /d /q /c call "%HERE%one.cmd" %STEP% >>"%LOG%" 2>&1 <nul
set "LEFT=%LIMIT%"
:take_wait
if exist "%STATE%\%STEP%.exit" goto take_ended
if "%LEFT%"=="0" goto take_hung
set /a LEFT-=1
call :pause 6
goto take_wait
:take_lost
rem It took the machine down three times.
set "CODE=249"
set "TRY=3"
goto take_failed
:take_hung
rem Only a restart ends it, and nothing may run beside it.
>"%STATE%\hung" echo %STEP%
set "CODE=249"
call :say %STEP% hung %TRY%
set "REBOOT=1"
goto take_again
:take_ended
set "CODE="
for /f "usebackq" %%C in ("%STATE%\%STEP%.exit") do set "CODE=%%C"
if not defined CODE set "CODE=1"
if "%CODE%"=="0" goto take_done
if "%CODE%"=="250" goto take_done
if "%CODE%"=="3010" goto take_restart
if "%CODE%"=="1641" goto take_restart
if not "%CODE%"=="249" goto take_failed
:take_again
if "%TRY%"=="3" goto take_failed
set "PENDING=1"
set "REBOOT=1"
call :say %STEP% again %CODE%
exit /b 0
:take_restart
set "REBOOT=1"
>"%STATE%\restart" echo 1
:take_done
call :note "%~1" done ok
exit /b 0
:take_failed
call :note "%~1" failed failed
exit /b 0

rem --- give_up FILE: it was not done in all these boots
:give_up
set "STEP=%~n1"
set "CODE=null"
set "TRY=0"
for %%N in (1 2 3) do if exist "%STATE%\%STEP%.try%%N" set "TRY=%%N"
call :note "%~1" failed pending
exit /b 0

rem --- note FILE FOLDER STATE: it is not tried again
:note
if not "%3"=="ok" if exist "%HERE%scripts\%STEP%.required" if "%RESULT%"=="ok" set "RESULT=failed"
if not "%3"=="ok" if exist "%HERE%scripts\%STEP%.required" >"%STATE%\result" echo failed
>"%STATE%\%STEP%.json" echo {"name": "%STEP%", "state": "%3", "tries": %TRY%, "exit": %CODE%}
move /y "%HERE%scripts\%~1" "%HERE%%2\%STEP%.cmd" >nul
rem What cannot be moved is not left to be run again.
if exist "%HERE%scripts\%~1" del /f /q "%HERE%scripts\%~1"
call :say %STEP% %3 %CODE%
exit /b 0

rem --- report: write complete, whole or not at all
:report
if "%RESULT%"=="ok" if exist "%STATE%\result" set "RESULT=failed"
>"%HERE%complete.new" echo {"v2v": 1, "state": "%RESULT%", "boots": %BOOT%, "steps": [
set "COMMA="
call :listed "%STATE%\*.json"
for /f "usebackq delims=" %%F in ("%STATE%\list") do call :report_step "%%F"
>>"%HERE%complete.new" echo ]}
move /y "%HERE%complete.new" "%HERE%complete" >nul
exit /b 0
:report_step
set "LINE="
for /f "usebackq delims=" %%L in ("%STATE%\%~1") do set "LINE=%%L"
if defined LINE >>"%HERE%complete.new" echo %COMMA%%LINE%
set "COMMA=,"
exit /b 0

rem --- say STEP STATE CODE: to the log, and to the host by the serial port
rem Without the time: how it is written is the guest's, and the host has a better clock.
:say
>>"%LOG%" echo boot %BOOT%: %1 %2 %3
>>"%PORT%" echo {"v2v": 1, "boot": %BOOT%, "step": "%1", "state": "%2", "code": %3}
exit /b 0

rem --- settle: wait until no more devices are found, 5 minutes at most
:settle
set "LEFT=15"
set "SAME=0"
>"%STATE%\before" echo 0
:settle_look
call "%SYS%\reg" query "HKLM\SYSTEM\CurrentControlSet\Enum\PCI" /s >"%STATE%\now" 2>nul
call "%SYS%\fc" "%STATE%\before" "%STATE%\now" >nul 2>&1
if errorlevel 1 set "SAME=0"
if not errorlevel 1 set /a SAME+=1
if "%SAME%"=="1" exit /b 0
move /y "%STATE%\now" "%STATE%\before" >nul
if "%LEFT%"=="0" exit /b 0
set /a LEFT-=1
call :pause 21
goto settle_look

rem --- setup_type N: 2 has Setup's command line run at the next boot, 0 not
:setup_type
call "%SYS%\reg" add "HKLM\SYSTEM\Setup" /v SetupType /t REG_DWORD /d %1 /f >nul 2>&1
if "%1"=="0" call "%SYS%\reg" add "HKLM\SYSTEM\Setup" /v CmdLine /t REG_SZ /d "" /f >nul 2>&1
if "%1"=="2" call "%SYS%\reg" add "HKLM\SYSTEM\Setup" /v CmdLine /t REG_SZ /d "cmd.exe /c %HERE%run.cmd" /f >nul 2>&1
exit /b 0

rem --- pause N: N-1 seconds; timeout.exe needs a console, and XP has none
:pause
call "%SYS%\ping" -n %1 127.0.0.1 >nul 2>&1
exit /b 0

:shutdown
call "%SYS%\shutdown" -r -f -t 5 >>"%LOG%" 2>&1
exit /b 0
