using LoraNotebooks.Foundation;
using LoraNotebooks.Hub;
using Spectre.Console;

namespace LoraNotebooks.Kernel.Commands;

/// <summary>
/// Shows a download on the error output: a bar on a terminal, a line for each whole file elsewhere. The output itself stays free for the result.
/// </summary>
internal static class DownloadTerminal
{
    private const int LongestName = 44;

    /// <summary>Downloads and shows it.</summary>
    public static Task<string> ShowAsync(Func<IProgress<DownloadProgress>, Task<string>> download)
    {
        var terminal = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(System.Console.Error) });
        if (!terminal.Profile.Out.IsTerminal || !terminal.Profile.Capabilities.Ansi || System.Console.IsErrorRedirected)
        {
            return download(new Listener(static progress =>
            {
                if (progress.IsFileDone)
                {
                    System.Console.Error.WriteLine($"{progress.FileNumber} of {progress.Files}  {progress.File}  {ByteSize.Text(progress.FileTotal)}");
                }
            }));
        }

        return terminal.Progress()
            .Columns(
                new TaskDescriptionColumn { Alignment = Justify.Left },
                new ProgressBarColumn(),
                new PercentageColumn(),
                new DownloadedColumn(),
                new RemainingTimeColumn())
            .StartAsync(async context =>
            {
                var bar = context.AddTask("Asking the hub");
                var folder = await download(new Listener(progress => Show(bar, progress))).ConfigureAwait(false);
                bar.Description = "Done";
                bar.Value = bar.MaxValue;
                return folder;
            });
    }

    /// <summary>The output, without wrapping where it is a file or a pipe.</summary>
    public static IAnsiConsole Console()
    {
        var terminal = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(System.Console.Out) });
        if (!terminal.Profile.Out.IsTerminal)
        {
            terminal.Profile.Width = 1000;
        }

        return terminal;
    }

    private static void Show(ProgressTask bar, DownloadProgress progress)
    {
        var name = progress.File.Length <= LongestName ? progress.File : "…" + progress.File[^LongestName..];
        var speed = progress.BytesPerSecond > 0 ? $"  {ByteSize.Text((long)progress.BytesPerSecond)}/s" : "";
        bar.Description = Markup.Escape($"{progress.FileNumber}/{progress.Files} {name}{speed}");
        bar.MaxValue = Math.Max(1, progress.Total);
        bar.Value = progress.Bytes;
    }

    // Called at once and in order, unlike Progress<T>.
    private sealed class Listener(Action<DownloadProgress> report) : IProgress<DownloadProgress>
    {
        public void Report(DownloadProgress value) => report(value);
    }
}
