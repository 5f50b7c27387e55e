@echo off
rem Finds Python 3.11 or newer and hands over to tools\bootstrap.py, which prepares .venv and starts what was asked for.
setlocal
set "PYTHON="
if not "%~1"=="--python" goto search
set PYTHON="%~2"
if exist "%~2\python.exe" set PYTHON="%~2\python.exe"
if exist "%~2\Scripts\python.exe" set PYTHON="%~2\Scripts\python.exe"
goto start

:search
for %%P in ("python" "py -3.13" "py -3.12" "py -3.11" "py -3") do if not defined PYTHON call :try %%~P
if defined PYTHON goto start
echo Python 3.11 or newer was not found. Install it from python.org, tick "Add python.exe to PATH", and start again. 1>&2
pause
exit /b 1

:start
%PYTHON% "%~dp0tools\bootstrap.py" %*
set "CODE=%ERRORLEVEL%"
rem Without arguments the window was opened by a double click: keep the message readable.
if not "%CODE%"=="0" if "%~1"=="" pause
exit /b %CODE%

:try
%* -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul && set "PYTHON=%*"
exit /b 0
