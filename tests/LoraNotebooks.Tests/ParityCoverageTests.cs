using System.IO.Enumeration;
using System.Text.RegularExpressions;
using LoraNotebooks.Tests.Adapters;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Tests.Models.Language;
using LoraNotebooks.Tests.Training;

namespace LoraNotebooks.Tests;

/// <summary>Which test runs which parity case. A case that none runs fails here, and so does one that a whole folder should have and lacks.</summary>
[Trait("Category", "Parity")]
public sealed partial class ParityCoverageTests
{
    /// <summary>Cases by the pattern of their folder, and the test that finds them there by itself.</summary>
    private static readonly (string Pattern, string Test)[] Covered =
    [
        ("sd*-tiny", nameof(DiffusionParityTests)), // and ClipTextModelTests, ClipTokenizerTests, StableDiffusionPipelineParityTests, SdxlParityTests
        ("*-single-file", nameof(SingleFileParityTests)),
        ("kohya-data", nameof(PromptTests)),
        ("noise-schedulers", nameof(SamplerTests)), // and NoiseScheduleTests, LossWeightingTests
        ("schedules", nameof(LearningRateScheduleTests)),
        ("unet-lora/*", nameof(LoraParityTests)),
        ("peft-variants/stack/*", nameof(PeftParityTests)), // which lists the methods that are for later
        ("peft-variants/llama/*", nameof(PeftParityTests)),
        ("peft-variants/gpt2/*", nameof(PeftParityTests)),
        ("llm-tiny/*", nameof(CausalLanguageParityTests)),
        ("train-trajectory/sd*", nameof(TrainingTrajectoryTests)),
    ];

    /// <summary>Cases of what the library does not have.</summary>
    private static readonly (string Pattern, string Reason)[] Uncovered =
    [
        ("adamw8bit", "8-bit optimizers"),
        ("optimizers", "optimizers beyond AdamW"),
        ("blip-tiny", "captions by BLIP"),
        ("nf4", "4-bit weights"),
        ("qlora-llama", "4-bit weights"),
        ("peft-variants/adalora-*", "AdaLoRA"),
        ("peft-variants/weighted-adapters", "weighted sums of adapters"),
        ("train-trajectory/llama-*", "training of language models"),
    ];

    [Fact]
    public void Cases_OfTheFolder_AreAllKnown()
    {
        string[] cases = [.. Directory.GetFiles(Fixtures.Root, "case.json", SearchOption.AllDirectories)
            .Select(static file => Path.GetRelativePath(Fixtures.Root, Path.GetDirectoryName(file)!).Replace('\\', '/'))];
        Assert.NotEmpty(cases);
        Assert.All(
            cases,
            static name => Assert.Contains(
                Covered.Select(static c => c.Pattern).Concat(Uncovered.Select(static c => c.Pattern)),
                pattern => FileSystemName.MatchesSimpleExpression(pattern, name)));
    }

    /// <summary>The list of cases in a folder's README, and in any whole folder at least one case of each test.</summary>
    [Fact]
    public void Cases_OfAWholeFolder_AreThere()
    {
        if (!Fixtures.IsWhole)
        {
            return; // tests/Fixtures, which must stay small, holds a part; each test names what it needs
        }

        var readme = Path.Combine(Fixtures.Root, "README.md");
        var listed = File.Exists(readme) ? CaseOfTable().Matches(File.ReadAllText(readme)).Select(static row => row.Groups[1].Value) : [];
        Assert.All(listed, static name => Assert.True(Directory.Exists(Path.Combine(Fixtures.Root, name)), $"{name} is listed and missing"));
        var all = Directory.GetDirectories(Fixtures.Root, "*", SearchOption.AllDirectories)
            .Select(static folder => Path.GetRelativePath(Fixtures.Root, folder).Replace('\\', '/')).ToList();
        Assert.All(Covered, covered => Assert.Contains(all, name => FileSystemName.MatchesSimpleExpression(covered.Pattern, name)));
    }

    /// <summary>A row of the README's table: | name | size | what |.</summary>
    [GeneratedRegex(@"^\| ([\w./-]+) \| \d+ \|", RegexOptions.Multiline)]
    private static partial Regex CaseOfTable();
}
