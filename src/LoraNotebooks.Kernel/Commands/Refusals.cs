using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Commands;

/// <summary>What can be wrong with the files that a command is given, before anything is done with them.</summary>
internal static class Refusals
{
    /// <summary>Does the work with one file; where the file cannot be used, says why.</summary>
    /// <returns>The exit code of the refusal, or null if the work was done.</returns>
    public static RunExit? Try(string path, TerminalProgress terminal, Action work)
    {
        try
        {
            work();
            return null;
        }
        catch (FileNotFoundException error)
        {
            terminal.Refused(error.Message);
            return RunExit.FileNotFound;
        }
        catch (InvalidDataException error)
        {
            terminal.Refused(error.Message);
            return RunExit.NotANotebook;
        }
        catch (RunParameterException error)
        {
            terminal.Refused($"{path}: {error.Message}");
            return RunExit.BadParameters;
        }
    }
}
