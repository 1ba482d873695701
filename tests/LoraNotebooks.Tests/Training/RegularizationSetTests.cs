using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

public sealed class RegularizationSetTests : IDisposable
{
    private static readonly RegularizationOptions Options = new()
    {
        Prompts = ["portrait", "portrait, long hair"],
        Count = 5,
        Generation = new() { Steps = 2, Seed = 7 }
    };

    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void OpenOrCreate_NewFolder_DrawsThePromptsInTurnFromSeedsOfTheirOwn()
    {
        var steps = new List<int>();

        var images = RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options, new Immediate<int>(steps.Add));

        Assert.Equal(["portrait", "portrait, long hair", "portrait", "portrait, long hair", "portrait"], images.Images.Select(image => image.Caption));
        Assert.Equal(["seed 7", "seed 10", "seed 8", "seed 11", "seed 9"], images.Images.Select(image => image.SourceFile));
        Assert.Equal([1, 2, 3, 4], steps);
        var alone = _pipeline.Generate(Options.Generation with { Prompt = "portrait, long hair", Seed = 11 })[0];
        StableDiffusionPipelineTests.AssertSame(alone.Pixels, images.Images[3].Image.Pixels);
        Assert.Equal(images.ComputeHash(), PreparedDataset.Load(_folder.In("class")).ComputeHash());
        Assert.Empty(Directory.GetDirectories(_folder.Path, "*.tmp"));
    }

    /// <summary>Prompts, batch and total → the prompt and the seed of each image, and how often progress is told: once a step and batch.</summary>
    [Theory]
    [InlineData(1, 2, 5, new[] { 0, 0, 0, 0, 0 }, new[] { 7, 8, 9, 10, 11 }, 6)]
    [InlineData(2, 2, 5, new[] { 0, 1, 0, 1, 0 }, new[] { 7, 10, 8, 11, 9 }, 6)]
    [InlineData(2, 1, 4, new[] { 0, 1, 0, 1 }, new[] { 7, 9, 8, 10 }, 8)]
    [InlineData(3, 4, 2, new[] { 0, 1 }, new[] { 7, 8 }, 4)]
    [InlineData(3, 3, 8, new[] { 0, 1, 2, 0, 1, 2, 0, 1 }, new[] { 7, 10, 13, 8, 11, 14, 9, 12 }, 6)]
    public void OpenOrCreate_PromptsAndBatches_ShareTheCountAndTheSeeds(int prompts, int batch, int count, int[] prompt, int[] seeds, int told)
    {
        string[] texts = ["portrait", "portrait, long hair", "blue shirt"];
        var options = new RegularizationOptions
        {
            Prompts = texts[..prompts],
            Count = count,
            Generation = new() { Steps = 2, Seed = 7, BatchSize = batch, Guidance = 1, Width = 8, Height = 16, Prompt = "not this", Count = 9 }
        };
        var steps = new List<int>();

        var images = RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, options, new Immediate<int>(steps.Add));

        Assert.Equal(prompt.Select(p => texts[p]), images.Images.Select(static image => image.Caption));
        Assert.Equal(seeds.Select(static seed => $"seed {seed}"), images.Images.Select(static image => image.SourceFile));
        Assert.Equal(Enumerable.Range(0, count).Select(static i => $"00000{i}"), images.Images.Select(static image => image.Name));
        Assert.Equal(Enumerable.Range(1, told), steps);
        for (var i = 0; i < count; i++)
        {
            var alone = _pipeline.Generate(options.Generation with { Prompt = texts[prompt[i]], Seed = seeds[i], Count = 1 })[0];
            StableDiffusionPipelineTests.AssertSame(alone.Pixels, images.Images[i].Image.Pixels);
        }

        Assert.All(images.Images, static image =>
            Assert.Equal((8, 16, 1, false, 1.0, false),
            (image.Image.Width, image.Image.Height, image.Repeats, image.Mirrored, image.LossWeight, image.IsRegularization)));
    }

    [Fact]
    public void OpenOrCreate_RecordOfTheFolder_SaysHowItWasMade()
    {
        Directory.CreateDirectory(_folder.In("class"));

        var images = RegularizationSet.OpenOrCreate(_folder.In("class") + Path.DirectorySeparatorChar, _pipeline, Options);

        var record = JsonNode.Parse(File.ReadAllText(_folder.In("class", RegularizationSet.RecordName)))!;
        Assert.Equal(["options", "model", "data"], record.AsObject().Select(static pair => pair.Key));
        Assert.Equal(images.ComputeHash(), (string?)record["data"]);
        Assert.Equal(["portrait", "portrait, long hair"], record["options"]!["Prompts"]!.AsArray().Select(static text => (string)text!));
        Assert.Equal((5, 2, "Off"),
            ((int)record["options"]!["Count"]!, (int)record["options"]!["Generation"]!["Steps"]!,
            (string?)record["options"]!["Generation"]!["Reading"]!["Weighting"]));
        var weights = string.Join('\n', _pipeline.HashWeights().Select(static pair => $"{pair.Key} {pair.Value}"));
        Assert.Equal(
            Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{weights}\n{_pipeline.Scheduler.ToJson().ToJsonString()}"))),
            (string?)record["model"]);
        Assert.Equal([_folder.In("class")], Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void OpenOrCreate_EveryOptionChanged_IsToldAndNothingIsDrawn()
    {
        RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options);
        var before = Directory.GetFiles(_folder.In("class")).ToDictionary(static file => file, File.ReadAllBytes);
        var values = new Dictionary<string, object> { ["Eta"] = 0.5 };
        foreach (var name in Changes.Names(typeof(RegularizationOptions), typeof(GenerationOptions), typeof(PromptReading)))
        {
            var changed = Changes.With(Options, name, values);

            var error = Assert.Throws<InvalidDataException>(() =>
                RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, changed, new Immediate<int>(static _ => Assert.Fail("drawn"))));

            Assert.StartsWith(
                $"The images in {_folder.In("class")} are not those of these settings. Delete the folder or give another one; "
                + "to use the images as they are, read them with PreparedDataset.Load:\n- options: {",
                error.Message,
                StringComparison.Ordinal);
            Assert.Equal(2, error.Message.Split('\n').Length);
        }

        Assert.Equal(before, Directory.GetFiles(_folder.In("class")).ToDictionary(static file => file, File.ReadAllBytes));
    }

    [Fact]
    public void OpenOrCreate_OtherScheduler_IsAnotherModel()
    {
        RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options);
        var other = new StableDiffusionPipeline(_pipeline.Tokenizer, _pipeline.TextEncoder, _pipeline.UNet, _pipeline.Vae,
            _pipeline.Scheduler with { StepsOffset = 1 });

        Assert.Contains("\n- model: \"",
            Assert.Throws<InvalidDataException>(() => RegularizationSet.OpenOrCreate(_folder.In("class"), other, Options)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("[]")]
    public void OpenOrCreate_DamagedRecord_SaysWhatToDo(string text)
    {
        RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options);
        File.WriteAllText(_folder.In("class", RegularizationSet.RecordName), text);

        var message = Assert.Throws<InvalidDataException>(() => RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options)).Message;

        Assert.StartsWith($"regularization.json in {_folder.In("class")} is damaged: ", message, StringComparison.Ordinal);
        Assert.EndsWith(" Delete the folder, so that the images are drawn anew.", message, StringComparison.Ordinal);
    }

    [Fact]
    public void OpenOrCreate_EmptyRecord_LacksEverything()
    {
        var images = RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options);
        File.WriteAllText(_folder.In("class", RegularizationSet.RecordName), "{}");

        var lines = Assert.Throws<InvalidDataException>(() => RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options)).Message.Split('\n');

        Assert.Equal(4, lines.Length);
        Assert.StartsWith("- options: none, here {", lines[1], StringComparison.Ordinal);
        Assert.StartsWith("- model: none, here \"", lines[2], StringComparison.Ordinal);
        Assert.Equal($"- data: images or captions were changed since they were drawn (hash none, here {images.ComputeHash()})", lines[3]);
    }

    [Fact]
    public void OpenOrCreate_FolderFilledWhileDrawing_IsLeftAloneAndNothingElseIsLeft()
    {
        var fill = new Immediate<int>(_ =>
        {
            Directory.CreateDirectory(_folder.In("class"));
            File.WriteAllText(_folder.In("class", "a.txt"), "mine");
        });

        Assert.ThrowsAny<IOException>(() => RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options, fill));

        Assert.Equal([_folder.In("class", "a.txt")], Directory.GetFileSystemEntries(_folder.In("class")));
        Assert.Equal([_folder.In("class")], Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void OpenOrCreate_NoFolderModelOrOptions_SaysWhich()
    {
        Assert.Equal("folder", Assert.Throws<ArgumentNullException>(() => RegularizationSet.OpenOrCreate(null!, _pipeline, Options)).ParamName);
        Assert.Equal("pipeline", Assert.Throws<ArgumentNullException>(() => RegularizationSet.OpenOrCreate("x", null!, Options)).ParamName);
        Assert.Equal("options", Assert.Throws<ArgumentNullException>(() => RegularizationSet.OpenOrCreate("x", _pipeline, null!)).ParamName);
    }

    [Theory]
    [InlineData("Prompts: got 0 with 0 of several lines, expected one or more of one line each")]
    [InlineData("Prompts: got 2 with 1 of several lines, expected one or more of one line each", "portrait", "two\nlines")]
    [InlineData("Prompts: got 3 with 3 of several lines, expected one or more of one line each", "a\r", "\0", "\n")]
    [InlineData(null, "portrait", "")]
    public void Validate_Prompts_AreOneOrMoreOfOneLine(string? expected, params string[] prompts) =>
        Assert.Equal(expected is null ? [] : [expected], new RegularizationOptions { Prompts = prompts }.Validate());

    [Fact]
    public void RegularizationOptions_Defaults_AreAHundredImages()
    {
        var options = new RegularizationOptions { Prompts = ["portrait"] };

        Assert.Equal(100, options.Count);
        Assert.Equal(new GenerationOptions(), options.Generation);
        Assert.Equal(["Count: got -1, expected a positive whole number"], (options with { Count = -1 }).Validate());
    }

    [Fact]
    public void OpenOrCreate_SameAgain_ReadsTheFolderAndGivesTheSame()
    {
        var first = RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options);
        var steps = new List<int>();
        var live = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        var second = RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options, new Immediate<int>(steps.Add));
        var elsewhere = RegularizationSet.OpenOrCreate(_folder.In("again"), _pipeline, Options);

        Assert.Empty(steps);
        Assert.Equal(first.ComputeHash(), second.ComputeHash());
        Assert.Equal(first.ComputeHash(), elsewhere.ComputeHash());
        Assert.Equal(live, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void OpenOrCreate_OtherOptionsModelOrImages_NamesEveryDifference()
    {
        RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options);
        using var other = TinyPipeline.Create(seed: 2);
        using (no_grad())
        {
            other.UNet.parameters().First().add_(1);
        }

        File.WriteAllText(_folder.In("class", "000001.txt"), "changed\n");
        File.WriteAllText(_folder.In("class", "metadata.jsonl"),
            File.ReadAllText(_folder.In("class", "metadata.jsonl")).Replace("\"000001.png\",\"text\":\"portrait, long hair\"",
            "\"000001.png\",\"text\":\"changed\"", StringComparison.Ordinal));

        var error = Assert.Throws<InvalidDataException>(() => RegularizationSet.OpenOrCreate(_folder.In("class"), other, Options with { Count = 6 }));

        Assert.Contains("- options: ", error.Message, StringComparison.Ordinal);
        Assert.Contains("- model: ", error.Message, StringComparison.Ordinal);
        Assert.Contains("- data: images or captions were changed", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void OpenOrCreate_OtherSecondTextEncoder_IsAnotherModel()
    {
        using var xl = TinyPipeline.CreateXL();
        RegularizationSet.OpenOrCreate(_folder.In("class"), xl, Options);
        using (no_grad())
        {
            xl.TextEncoder2!.parameters().Last().add_(1);
        }

        Assert.Contains("- model: ", Assert.Throws<InvalidDataException>(() => RegularizationSet.OpenOrCreate(_folder.In("class"), xl, Options)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void OpenOrCreate_FolderOfSomethingElse_LeavesItAlone()
    {
        Directory.CreateDirectory(_folder.In("photos"));
        File.WriteAllText(_folder.In("photos", "a.txt"), "mine");

        var error = Assert.Throws<IOException>(() => RegularizationSet.OpenOrCreate(_folder.In("photos"), _pipeline, Options));

        Assert.Contains("no folder that was made here", error.Message, StringComparison.Ordinal);
        Assert.Equal("mine", File.ReadAllText(_folder.In("photos", "a.txt")));
    }

    [Fact]
    public void OpenOrCreate_Cancelled_WritesNothing()
    {
        using var source = new CancellationTokenSource();

        Assert.Throws<OperationCanceledException>(() =>
            RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options, new Immediate<int>(_ => source.Cancel()), source.Token));
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void OpenOrCreate_WrongOptions_NamesThemAll()
    {
        var error = Assert.Throws<ArgumentException>(() =>
            RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline,
            new RegularizationOptions { Prompts = [], Count = 0, Generation = new() { Steps = 0 } }));

        Assert.Contains("Prompts: got 0", error.Message, StringComparison.Ordinal);
        Assert.Contains("Count: got 0", error.Message, StringComparison.Ordinal);
        Assert.Contains("Generation.Steps: got 0", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Train_OnSubjectAndItsClass_MixesBothInEveryEpoch()
    {
        var dataset = TinyRun.Dataset.WithRegularization(RegularizationSet.OpenOrCreate(_folder.In("class"), _pipeline, Options));

        using var result = new LoraTrainer().Train(TinyRun.Config(_folder.In("out")), _pipeline, dataset);

        Assert.Equal((10, 5), (result.Plan.ExamplesPerEpoch, result.Plan.RegularizationPerEpoch));
        Assert.All(result.Steps, step => Assert.True(double.IsFinite(step.Loss)));
    }
}
