using System.Diagnostics;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>The program in a process of its own, as users start it.</summary>
internal static class ToolProcess
{
    /// <summary>Runs it to its end.</summary>
    /// <param name="folder">The folder that it is started in.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <returns>The exit code, and both outputs, errors last.</returns>
    public static async Task<(int Exit, string Text)> RunAsync(string folder, params string[] arguments)
    {
        var program = typeof(NotebookRunner).Assembly.Location;
        var start = new ProcessStartInfo("dotnet", ["exec", program, .. arguments])
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, await output + await error);
    }
}
