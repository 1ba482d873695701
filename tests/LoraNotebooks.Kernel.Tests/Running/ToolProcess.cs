using System.CommandLine;
using System.Diagnostics;
using LoraNotebooks.Kernel.Commands;
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

    /// <summary>Runs the program within this process, which takes no time to start: for all that does not depend on a process of its own.</summary>
    /// <inheritdoc cref="RunAsync"/>
    public static async Task<(int Exit, string Text)> RunHereAsync(string folder, params string[] arguments)
    {
        var (before, output, error) = (Environment.CurrentDirectory, Console.Out, Console.Error);
        using var written = new StringWriter();
        var shared = TextWriter.Synchronized(written);
        Environment.CurrentDirectory = folder;
        Console.SetOut(shared);
        Console.SetError(shared);
        try
        {
            var exit = await CommandLine.Create().Parse(arguments).InvokeAsync(
                new InvocationConfiguration { Output = shared, Error = shared, ProcessTerminationTimeout = null });
            return (exit, written.ToString());
        }
        finally
        {
            Console.SetOut(output);
            Console.SetError(error);
            Environment.CurrentDirectory = before;
        }
    }
}
