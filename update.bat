@echo off
rem The newest version; "update.bat --back" returns to the one before. Models, results and settings stay.
setlocal
set "PYTHON=python"
py -3 -c "" >nul 2>nul && set "PYTHON=py -3"
%PYTHON% "%~dp0tools\update.py" %*
set "CODE=%ERRORLEVEL%"
if "%~1"=="" pause
exit /b %CODE%
