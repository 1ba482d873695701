using System.ComponentModel;
using System.Diagnostics;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>A notebook server that is installed on this machine.</summary>
/// <param name="Name">What people call it.</param>
/// <param name="Command">The command that starts it, without options.</param>
/// <param name="Page">The path of its first page.</param>
internal sealed record JupyterProgram(string Name, IReadOnlyList<string> Command, string Page)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private static readonly JupyterProgram[] Known =
    [
        new("JupyterLab", ["jupyter-lab"], "lab"),
        new("JupyterLab", ["jupyter", "lab"], "lab"),
        new("Jupyter Notebook", ["jupyter-notebook"], "tree"),
        new("Jupyter Notebook", ["jupyter", "notebook"], "tree"),
    ];

    /// <summary>The first server of the PATH that answers when asked for its version, JupyterLab before Notebook; null if none does.</summary>
    public static async Task<JupyterProgram?> FindAsync(CancellationToken cancellation)
    {
        foreach (var program in Known)
        {
            if (await AnswersAsync(program.Command, cancellation).ConfigureAwait(false))
            {
                return program;
            }
        }

        return null;
    }

    private static async Task<bool> AnswersAsync(IReadOnlyList<string> command, CancellationToken cancellation)
    {
        using var process = new Process
        {
            StartInfo = new(command[0], [.. command.Skip(1), "--version"])
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            },
        };
        try
        {
            process.Start();
        }
        catch (Win32Exception)
        {
            // Not on the PATH, or not a program.
            return false;
        }

        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Patience);
        try
        {
            process.StandardInput.Close();
            process.OutputDataReceived += static (_, _) => { };
            process.ErrorDataReceived += static (_, _) => { };
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            await process.WaitForExitAsync(limit.Token).ConfigureAwait(false);
            return process.ExitCode == 0;
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return false;
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill(entireProcessTree: true);
            }
        }
    }
}
