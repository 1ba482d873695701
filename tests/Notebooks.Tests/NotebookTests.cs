using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;
using Microsoft.CodeAnalysis.CSharp;

namespace Notebooks.Tests;

/// <summary>
/// Every chapter is executed from its first cell to its last; each cell asserts what its text claims, and the outputs must be built
/// like those that are stored in the repository.
/// The training chapters run with fewer steps here; LORANOTEBOOKS_FULL=1 runs them as a reader does.
/// </summary>
public sealed partial class NotebookTests
{
    private const long MaximumLength = 2_000_000;
    private const string OwnModel = "05-your-own-stable-diffusion.ipynb";

    private static readonly bool Full = Environment.GetEnvironmentVariable("LORANOTEBOOKS_FULL") == "1";

    public static TheoryData<string> Chapters =>
        [.. Directory.GetFiles(Folder(), "*.ipynb").Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Chapters))]
    public async Task Run_EveryCell_SucceedsWithOutputsLikeTheStoredOnes(string chapter)
    {
        var output = Directory.CreateTempSubdirectory("lora-chapter").FullName;
        try
        {
            var parameters = new Dictionary<string, string>();
            var path = Path.Combine(Folder(), chapter);
            var stored = Notebook.Load(path);
            if (stored.Cells.Any(cell => cell.Source.Contains("var epochs =")))
            {
                parameters["output"] = SymbolDisplay.FormatLiteral(Path.Combine(output, "run"), quote: true);
                if (!Full)
                {
                    parameters["epochs"] = "2";
                    parameters["repeats"] = "2";
                }
            }

            var outcome = await new NotebookRunner(new Quiet()).RunAsync(
                path,
                new RunOptions { OutputFolder = output, Parameters = parameters, Timeout = TimeSpan.FromMinutes(20) },
                CancellationToken.None);

            Assert.True(outcome.Exit == RunExit.Ok, $"{outcome.FailedCell}: {string.Join('\n', outcome.Error?.Traceback ?? [])}");
            Assert.True(new FileInfo(outcome.Page!).Length > 20_000);
            var fresh = Notebook.Load(outcome.Executed!);
            AssertNoDrift(chapter, NotebookDrift.Compare(stored, fresh));

            // The error stream is no part of that structure. It may tell of this machine's kernels, and of nothing else.
            Assert.All(
                fresh.Cells.SelectMany(static cell => cell.Outputs).Where(static output => (string?)output?["name"] == "stderr"),
                static output => Assert.StartsWith("libtorch computes ", Notebook.JoinText(output!["text"]), StringComparison.Ordinal));
        }
        finally
        {
            Directory.Delete(output, recursive: true);
        }
    }

    /// <summary>Chapter 5 on models of every family by their path alone. Random weights stand in for trained ones, so a few steps are enough.</summary>
    [Theory]
    [InlineData("sd15-tiny")]
    [InlineData("sd2-tiny")]
    [InlineData("xl")]
    public async Task Run_Chapter5WithAnotherModel_Succeeds(string model)
    {
        var output = Directory.CreateTempSubdirectory("lora-chapter").FullName;
        try
        {
            var fixtures = Path.GetFullPath(Path.Combine(Folder(), "..", "tests", "Fixtures"));
            var path = model == "xl"
                ? TinyXL.Save(Path.Combine(output, model), Path.Combine(fixtures, "sd15-tiny", "tokenizer"))
                : Path.Combine(fixtures, model);
            var parameters = new Dictionary<string, string>
            {
                ["model"] = SymbolDisplay.FormatLiteral(path, quote: true),
                ["output"] = SymbolDisplay.FormatLiteral(Path.Combine(output, "run"), quote: true),
                ["epochs"] = "1",
                ["repeats"] = "1",
                ["rank"] = "2",
            };

            var outcome = await new NotebookRunner(new Quiet()).RunAsync(
                Path.Combine(Folder(), OwnModel),
                new RunOptions { OutputFolder = output, Parameters = parameters, Timeout = TimeSpan.FromMinutes(20) },
                CancellationToken.None);

            Assert.True(outcome.Exit == RunExit.Ok, $"{outcome.FailedCell}: {string.Join('\n', outcome.Error?.Traceback ?? [])}");
        }
        finally
        {
            Directory.Delete(output, recursive: true);
        }
    }

    [Theory]
    [MemberData(nameof(Chapters))]
    public void StoredOutputs_OfAChapter_AreThoseOfItsCode(string chapter) =>
        AssertNoDrift(chapter, NotebookDrift.FaultsOf(Notebook.Load(Path.Combine(Folder(), chapter))));

    [Theory]
    [MemberData(nameof(Chapters))]
    public void StoredOutputs_OfAChapter_ShowAPictureOnGitHub(string chapter)
    {
        var path = Path.Combine(Folder(), chapter);
        var pictures = Notebook.Load(path).Cells.SelectMany(cell => cell.Outputs).Sum(output => PicturesWithoutScripts(output?["data"] as JsonObject));
        AssertNoDrift(chapter, pictures > 0 ? [] : ["Without scripts its outputs show no picture."]);
        var length = new FileInfo(path).Length;
        Assert.True(
            length < MaximumLength,
            $"{chapter} has {length:N0} bytes; of a notebook in the repository at most {MaximumLength:N0} are wanted. "
                + "Show fewer or smaller pictures.");
    }

    [Theory]
    [MemberData(nameof(Chapters))]
    public void StoredOutputs_OfAChapter_NameNoPathOfTheMachine(string chapter)
    {
        // In the text of a picture any short word can turn up.
        var text = Base64().Replace(File.ReadAllText(Path.Combine(Folder(), chapter)), "");
        var repository = Path.GetFullPath(Path.Combine(Folder(), ".."));
        string[] paths = [repository, Path.GetTempPath(), Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), "/home/", "/Users/", "/root/", "/tmp/", "C:\\Users"];
        Assert.All(paths.Where(path => path.Length > 1), path =>
        {
            Assert.DoesNotContain(path, text);
            Assert.DoesNotContain(path.Replace("\\", "\\\\"), text);
        });
    }

    private static void AssertNoDrift(string chapter, IReadOnlyList<string> faults) => Assert.True(faults.Count == 0, $"""
        Code and stored outputs of {chapter} have drifted apart:
        {string.Join('\n', faults)}
        Execute it anew and commit it: dotnet run --project src/LoraNotebooks.Kernel -c Release -- run notebooks/{chapter} --output notebooks --format ipynb
        """);

    /// <summary>
    /// The pictures left of an output where no script runs and HTML is cleaned, as GitHub shows a notebook: HTML comes first, then a picture.
    /// </summary>
    private static int PicturesWithoutScripts(JsonObject? data)
    {
        if (data is null)
        {
            return 0;
        }

        return data["text/html"] is { } html
            ? Picture().Count(ScriptOrDrawing().Replace(Notebook.JoinText(html), ""))
            : data.ContainsKey("image/png") || data.ContainsKey("image/jpeg") ? 1 : 0;
    }

    private static string Folder([CallerFilePath] string thisFile = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(thisFile)!, "..", "..", "notebooks"));

    [GeneratedRegex("<(script|style|svg)\\b.*?</\\1\\s*>", RegexOptions.Singleline | RegexOptions.IgnoreCase)]
    private static partial Regex ScriptOrDrawing();

    [GeneratedRegex("<img\\b[^>]*\\bsrc=\"data:image/(png|jpeg);base64,[A-Za-z0-9+/=\\s]+\"", RegexOptions.IgnoreCase)]
    private static partial Regex Picture();

    [GeneratedRegex("[A-Za-z0-9+/=]{200,}")]
    private static partial Regex Base64();

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
