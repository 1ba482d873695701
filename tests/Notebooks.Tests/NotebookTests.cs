using System.Runtime.CompilerServices;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;
using Microsoft.CodeAnalysis.CSharp;

namespace Notebooks.Tests;

/// <summary>
/// Every chapter is executed from its first cell to its last; each cell asserts what its text claims.
/// The training chapters run with fewer steps here; LORANOTEBOOKS_FULL=1 runs them as a reader does.
/// </summary>
public sealed class NotebookTests
{
    private static readonly bool Full = Environment.GetEnvironmentVariable("LORANOTEBOOKS_FULL") == "1";

    public static TheoryData<string> Chapters => [.. Directory.GetFiles(Folder(), "*.ipynb").Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Chapters))]
    public async Task Run_EveryCell_Succeeds(string chapter)
    {
        var output = Directory.CreateTempSubdirectory("lora-chapter").FullName;
        try
        {
            var parameters = new Dictionary<string, string>();
            var path = Path.Combine(Folder(), chapter);
            if (Notebook.Load(path).Cells.Any(cell => cell.Source.Contains("var epochs =")))
            {
                parameters["output"] = SymbolDisplay.FormatLiteral(Path.Combine(output, "run"), quote: true);
                if (!Full)
                {
                    parameters["epochs"] = "2";
                    parameters["repeats"] = "2";
                }
            }

            var outcome = await new NotebookRunner(new Quiet()).RunAsync(path, new RunOptions { OutputFolder = output, Parameters = parameters, Timeout = TimeSpan.FromMinutes(20) }, CancellationToken.None);

            Assert.True(outcome.Exit == RunExit.Ok, $"{outcome.FailedCell}: {outcome.Error?.Traceback}");
            Assert.True(new FileInfo(Path.Combine(output, Path.ChangeExtension(chapter, ".html"))).Length > 20_000);
        }
        finally
        {
            Directory.Delete(output, recursive: true);
        }
    }

    [Fact]
    public void Chapters_InTheRepository_CarryNoOutputsOfAnotherMachine()
    {
        foreach (var path in Directory.GetFiles(Folder(), "*.ipynb"))
        {
            var text = File.ReadAllText(path);
            Assert.DoesNotContain("/home/", text);
            Assert.DoesNotContain("C:\\\\Users", text);
        }
    }

    private static string Folder([CallerFilePath] string thisFile = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(thisFile)!, "..", "..", "notebooks"));

    private sealed class Quiet : IRunProgress
    {
        public void NotebookStarted(string path, int cells)
        {
        }

        public void CellStarted(int number, int cells, string title)
        {
        }

        public void CellSkipped(int number, int cells, string title)
        {
        }

        public void Output(string text, bool isError)
        {
        }

        public void Status(string text)
        {
        }

        public void CellEnded(bool succeeded, TimeSpan elapsed)
        {
        }

        public void NotebookEnded(RunOutcome outcome, TimeSpan elapsed)
        {
        }
    }
}
