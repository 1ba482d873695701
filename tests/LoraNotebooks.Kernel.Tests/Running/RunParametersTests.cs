using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

public sealed class RunParametersTests : IDisposable
{
    private const string Declarations = """
        var steps = 400;
        var rate = 1e-4;
        float weight = 1f;
        long seed = 1;
        decimal price = 1;
        int? cap = 3;
        var prompt = "x";
        string? suffix = "y";
        var fast = false;
        char letter = 'x';
        int[] ranks = [1];
        float[] weights = [1];
        string[] words = ["a"];
        int[][] grid = [[1]];
        List<double> rates = [];
        LoraNotebooks.Training.ScheduleKind kind = ScheduleKind.Constant;
        ScheduleKind? maybe = null;
        byte small = 1;
        TimeSpan time = TimeSpan.Zero;
        object anything = 1;
        var (width, height) = (64, 64);
        var @class = 1;
        const int fixedSize = 64;
        """;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("steps", "20", "steps = 20;")]
    [InlineData("steps", " -20 ", "steps = -20;")]
    [InlineData("steps", "+0x1F", "steps = +0x1F;")]
    [InlineData("steps", "1_000", "steps = 1_000;")]
    [InlineData("rate", "1e-3", "rate = 1e-3;")]
    [InlineData("rate", "-2.5E+3", "rate = -2.5E+3;")]
    [InlineData("rate", ".5", "rate = .5;")]
    [InlineData("rate", "1", "rate = 1;")]
    [InlineData("weight", "0.25", "weight = 0.25f;")]
    [InlineData("weight", "-0.25d", "weight = -0.25f;")]
    [InlineData("weight", "1e-3f", "weight = 1e-3f;")]
    [InlineData("price", "9.99", "price = 9.99m;")]
    [InlineData("seed", "3000000000", "seed = 3000000000;")]
    [InlineData("cap", "null", "cap = null;")]
    [InlineData("cap", "4", "cap = 4;")]
    [InlineData("fast", "true", "fast = true;")]
    [InlineData("letter", "'b'", "letter = 'b';")]
    [InlineData("ranks", "[1, 2]", "ranks = [1, 2];")]
    [InlineData("ranks", "[]", "ranks = [];")]
    [InlineData("ranks", "[-1,/* two */2]", "ranks = [-1, 2];")]
    [InlineData("weights", "[0.1, -2.5, 1]", "weights = [0.1f, -2.5f, 1];")]
    [InlineData("words", "[\"a\", @\"b\\\"]", "words = [\"a\", @\"b\\\"];")]
    [InlineData("grid", "[[1, 2], [3]]", "grid = [[1, 2], [3]];")]
    [InlineData("rates", "[1e-3, 1]", "rates = [1e-3, 1];")]
    [InlineData("kind", "ScheduleKind.Cosine", "kind = ScheduleKind.Cosine;")]
    [InlineData("kind", "LoraNotebooks.Training.ScheduleKind.Cosine", "kind = LoraNotebooks.Training.ScheduleKind.Cosine;")]
    [InlineData("maybe", "ScheduleKind.Cosine", "maybe = ScheduleKind.Cosine;")]
    [InlineData("maybe", "null", "maybe = null;")]
    [InlineData("width", "512", "width = 512;")]
    [InlineData("class", "2", "@class = 2;")]
    [InlineData("steps", "20 // a comment must not swallow the semicolon", "steps = 20;")]
    [InlineData("prompt", "\"literal\"", "prompt = \"literal\";")]
    [InlineData("prompt", "@\"C:\\pictures\"", "prompt = @\"C:\\pictures\";")]
    [InlineData("prompt", "\"\"\"say \"hi\" \"\"\"", "prompt = \"\"\"say \"hi\" \"\"\";")]
    [InlineData("prompt", "a \"quoted\" face", "prompt = \"a \\\"quoted\\\" face\";")]
    [InlineData("prompt", "\"one\" and \"two\"", "prompt = \"\\\"one\\\" and \\\"two\\\"\";")]
    [InlineData("prompt", "\"open", "prompt = \"\\\"open\";")]
    [InlineData("prompt", " spaces stay ", "prompt = \" spaces stay \";")]
    [InlineData("prompt", "", "prompt = \"\";")]
    [InlineData("prompt", "20", "prompt = \"20\";")]
    [InlineData("prompt", "null", "prompt = \"null\";")]
    [InlineData("prompt", "two\nlines", "prompt = \"two\\nlines\";")]
    [InlineData("rate", "1d", "rate = 1d;")]
    [InlineData("weight", "-1D", "weight = -1f;")]
    [InlineData("price", "1d", "price = 1m;")]
    [InlineData("cap", "+4", "cap = +4;")]
    [InlineData("letter", "'\\n'", "letter = '\\n';")]
    [InlineData("letter", "'\\''", "letter = '\\'';")]
    [InlineData("anything", "\"text\"", "anything = \"text\";")]
    [InlineData("anything", "null", "anything = null;")]
    [InlineData("small", "0b1111_0000", "small = 0b1111_0000;")]
    [InlineData("seed", "5L", "seed = 5L;")]
    [InlineData("prompt", "back\\slash\ttab\0", "prompt = \"back\\\\slash\\ttab\\0\";")]
    [InlineData("prompt", "true", "prompt = \"true\";")]
    [InlineData("suffix", "", "suffix = \"\";")]
    [InlineData("prompt", "$\"{steps}\"", "prompt = \"$\\\"{steps}\\\"\";")]
    [InlineData("suffix", "null", "suffix = null;")]
    [InlineData("suffix", "z", "suffix = \"z\";")]
    public void Inject_Value_IsWrittenForItsType(string name, string value, string expected)
    {
        var notebook = WithParameters(Declarations);
        RunParameters.Inject(notebook, _folder.Path, new Dictionary<string, string> { [name] = value });
        Assert.Equal(["injected-parameters"], notebook.Cells[1].Tags);
        Assert.Equal(expected, notebook.Cells[1].Source.Split('\n', 2)[1]);
    }

    [Theory]
    [InlineData("steps", "1.5", "expected a C# literal of type int, for example 20")]
    [InlineData("steps", "", "expected a C# literal of type int")]
    [InlineData("steps", "\"20\"", "expected a C# literal of type int")]
    [InlineData("steps", "3000000000", "expected a C# literal of type int")]
    [InlineData("steps", "-\"20\"", "expected a C# literal of type int")]
    [InlineData("steps", "20; File.Delete(\"x\")", "expected a C# literal of type int")]
    [InlineData("steps", "int.MaxValue", "expected a C# literal of type int")]
    [InlineData("steps", "null", "expected a C# literal of type int")]
    [InlineData("steps", "20\n#load \"other.csx\"\n", "expected a C# literal of type int")]
    [InlineData("rate", "System.IO.File.Delete(\"x\")", "expected a C# literal of type double")]
    [InlineData("small", "300", "expected a C# literal of type byte")]
    [InlineData("fast", "1", "expected a C# literal of type bool, for example true")]
    [InlineData("ranks", "[1, \"a\"]", "expected a C# literal of type int[], for example [20, 20]")]
    [InlineData("ranks", "[..ranks]", "expected a C# literal of type int[]")]
    [InlineData("kind", "ScheduleKind.Steep", "expected one of ScheduleKind.Constant")]
    [InlineData("kind", "Other.Cosine", "expected one of ScheduleKind.Constant")]
    [InlineData("kind", "Cosine", "expected one of ScheduleKind.Constant")]
    [InlineData("kind", "leKind.Cosine", "expected one of ScheduleKind.Constant")]
    [InlineData("kind", "ScheduleKind.Cosine.Cosine", "expected one of ScheduleKind.Constant")]
    [InlineData("ranks", "[1, 2 + 3]", "expected a C# literal of type int[]")]
    [InlineData("ranks", "new[] { 1 }", "expected a C# literal of type int[]")]
    [InlineData("grid", "[[1], 2]", "expected a C# literal of type int[][]")]
    [InlineData("fast", "!true", "expected a C# literal of type bool")]
    [InlineData("steps", "~1", "expected a C# literal of type int")]
    [InlineData("steps", "-+1", "expected a C# literal of type int")]
    [InlineData("steps", "(20)", "expected a C# literal of type int")]
    [InlineData("steps", "20 20", "expected a C# literal of type int")]
    [InlineData("time", "20", "its type TimeSpan has no literals")]
    [InlineData("fixedSize", "32", "fixedSize is a const")]
    [InlineData("step", "32", "There is no parameter step. This notebook has: anything, cap, class")]
    public void Inject_ValueThatDoesNotFit_IsRefused(string name, string value, string expected)
    {
        var notebook = WithParameters(Declarations);
        var error = Assert.Throws<RunParameterException>(() => RunParameters.Inject(notebook, _folder.Path, new Dictionary<string, string> { [name] = value }));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("fixedSize,", error.Message, StringComparison.Ordinal);
        Assert.Single(notebook.Cells);
    }

    [Theory]
    [InlineData("sbyte", "expected a C# literal of type sbyte, for example 20.")]
    [InlineData("byte", "expected a C# literal of type byte, for example 20.")]
    [InlineData("short", "expected a C# literal of type short, for example 20.")]
    [InlineData("ushort", "expected a C# literal of type ushort, for example 20.")]
    [InlineData("uint", "expected a C# literal of type uint, for example 20.")]
    [InlineData("long?", "expected a C# literal of type long?, for example 20.")]
    [InlineData("ulong", "expected a C# literal of type ulong, for example 20.")]
    [InlineData("float", "expected a C# literal of type float, for example 1e-4.")]
    [InlineData("double", "expected a C# literal of type double, for example 1e-4.")]
    [InlineData("decimal", "expected a C# literal of type decimal, for example 1e-4.")]
    [InlineData("bool", "expected a C# literal of type bool, for example true.")]
    [InlineData("char", "expected a C# literal of type char, for example 'a'.")]
    [InlineData("object", "expected a C# literal of type object, for example 20 or \"text\".")]
    [InlineData("string[]", "expected a C# literal of type string[], for example [\"text\", \"text\"].")]
    [InlineData("List<double>", "expected a C# literal of type List<double>, for example [1e-4, 1e-4].")]
    [InlineData("bool[][]", "expected a C# literal of type bool[][], for example [[true, true], [true, true]].")]
    [InlineData(
        "DayOfWeek?",
        "expected one of DayOfWeek.Sunday, DayOfWeek.Monday, DayOfWeek.Tuesday, DayOfWeek.Wednesday, "
            + "DayOfWeek.Thursday, DayOfWeek.Friday, DayOfWeek.Saturday.")]
    [InlineData("Mode", "expected a C# literal, for example 20, 1e-4, true, \"text\" or [1, 2, 4].")]
    [InlineData("Version", "its type Version has no literals. Declare the parameter as a number, a text, a bool, an enum or a list of these.")]
    [InlineData(
        "Dictionary<int, int>",
        "its type Dictionary<int, int> has no literals. Declare the parameter as a number, a text, a bool, an enum or a list of these.")]
    public void Inject_NoConstant_IsRefusedWithWhatTheTypeTakes(string type, string expected)
    {
        var error = Assert.Throws<RunParameterException>(() => RunParameters.Inject(
            WithParameters($"{type} value = default;"),
            _folder.Path,
            new Dictionary<string, string> { ["value"] = "1 + 1" }));
        Assert.Equal("value=1 + 1: " + expected, error.Message);
    }

    [Theory]
    [InlineData("const int a = 1;", "a is a const in the cell tagged \"parameters\" and cannot be set. Declare it as a variable to make it a parameter.")]
    [InlineData("readonly int a = 1;", "a is readonly in the cell tagged \"parameters\" and cannot be set. Declare it as a variable to make it a parameter.")]
    [InlineData("int c = 1; int b = 2; const int d = 3; readonly int e = 4;", "There is no parameter a. This notebook has: b, c.")]
    [InlineData("int a = \"\";", "")] // a cell that does not compile fails by itself
    public void Inject_NameThatCannotBeSet_SaysWhy(string declarations, string expected)
    {
        var values = new Dictionary<string, string> { ["a"] = "2" };
        if (expected.Length == 0)
        {
            RunParameters.Inject(WithParameters(declarations), _folder.Path, values);
            return;
        }

        Assert.Equal(expected, Assert.Throws<RunParameterException>(() => RunParameters.Inject(WithParameters(declarations), _folder.Path, values)).Message);
    }

    [Fact]
    public void Inject_NotebookWithResultsOfEarlierRuns_HoldsOneCellBehindTheFirstTaggedOne()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Markdown, "prose", "parameters");
        notebook.Add(CellKind.Code, "// first", "injected-parameters");
        notebook.Add(CellKind.Code, "int a = 1; int b = 2;", "parameters");
        notebook.Add(CellKind.Code, "// earlier", "injected-parameters");
        notebook.Add(CellKind.Code, "// earlier still", "injected-parameters");
        notebook.Add(CellKind.Code, "int a = 5;", "parameters");
        RunParameters.Inject(notebook, _folder.Path, new Dictionary<string, string>());
        Assert.Equal(6, notebook.Cells.Count);
        RunParameters.Inject(notebook, _folder.Path, new Dictionary<string, string> { ["b"] = "3", ["a"] = "-1" });
        Assert.Equal(
            ["prose", "int a = 1; int b = 2;", "// Given on the command line\nb = 3;\na = -1;", "int a = 5;"],
            notebook.Cells.Select(cell => cell.Source));
    }

    [Fact]
    public void Inject_SeveralFaults_AreAllNamed()
    {
        var values = new Dictionary<string, string> { ["step"] = "20", ["steps"] = "1.5", ["rate"] = "Math.PI", ["fixedSize"] = "1", ["prompt"] = "fine" };
        var error = Assert.Throws<RunParameterException>(() => RunParameters.Inject(WithParameters(Declarations), _folder.Path, values));
        Assert.Equal(4, error.Message.Split(Environment.NewLine).Length);
    }

    [Fact]
    public void Inject_NoTaggedCell_SaysHowToTag()
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, "var steps = 1;");
        var error = Assert.Throws<RunParameterException>(() =>
            RunParameters.Inject(notebook, _folder.Path, new Dictionary<string, string> { ["steps"] = "2" }));
        Assert.Equal(
            "The notebook has no code cell tagged \"parameters\", so it takes no -p. Add the tag to the cell that declares its settings.",
            error.Message);
    }

    [Fact]
    public void Inject_CellThatNeedsAnEarlierOne_StillTakesItsOwnNames()
    {
        // The cell is looked at alone; what an earlier cell declares is known by name only.
        var notebook = WithParameters("Mode mode = Mode.Fast;\nvar steps = Default();");
        RunParameters.Inject(notebook, _folder.Path, new Dictionary<string, string> { ["mode"] = "Mode.Slow", ["steps"] = "2" });
        Assert.EndsWith("mode = Mode.Slow;\nsteps = 2;", notebook.Cells[1].Source, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Inject_EveryKindOfValue_Runs()
    {
        var notebook = WithParameters(Declarations);
        notebook.Add(
            CellKind.Code,
            "Console.Write(FormattableString.Invariant($\"{steps} {weight} {cap} {prompt} {suffix is null} "
                + "{weights.Length} {kind} {height} {@class}\"));");
        notebook.Save(_folder.File("notebook.ipynb"));
        var outcome = await new NotebookRunner(new Silent()).RunAsync(_folder.File("notebook.ipynb"), new RunOptions
        {
            OutputFolder = _folder.File("out"),
            Parameters = new Dictionary<string, string>
            {
                ["steps"] = "-2",
                ["weight"] = "0.5",
                ["cap"] = "null",
                ["prompt"] = "\"q\" {x}",
                ["suffix"] = "null",
                ["weights"] = "[.5, 1]",
                ["kind"] = "ScheduleKind.Cosine",
                ["height"] = "32",
                ["class"] = "3",
            },
        });
        Assert.True(outcome.Exit == RunExit.Ok, outcome.Error?.Message);
        Assert.Equal("-2 0.5  \"q\" {x} True 2 Cosine 32 3", Notebook.JoinText(Notebook.Load(outcome.Executed!).Cells[2].Outputs[0]!["text"]));
    }

    private static Notebook WithParameters(string source)
    {
        var notebook = Notebook.Create();
        notebook.Add(CellKind.Code, source, "parameters");
        return notebook;
    }
}
