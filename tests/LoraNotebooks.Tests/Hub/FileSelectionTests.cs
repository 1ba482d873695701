using LoraNotebooks.Hub;

namespace LoraNotebooks.Tests.Hub;

public sealed class FileSelectionTests
{
    private static readonly string[] Pipeline =
    [
        "README.md", "model_index.json", "v1-5-pruned.safetensors", "v1-5-pruned.ckpt",
        "unet/config.json", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json", "text_encoder/pytorch_model.bin", "text_encoder/pytorch_model.bin.index.json", "text_encoder/model.fp16.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt", "tokenizer/vocab.json", "safety_checker/model.safetensors", "safety_checker/config.json", "scheduler/scheduler_config.json",
    ];

    private static readonly string[] Texts =
    [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "vae/config.json"
    ];

    [Fact]
    public void Select_Pipeline_TakesPlainComponentsAndNoPickles() => AssertSelected(
        Pipeline,
        new DownloadOptions(),
        [.. Texts, "text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"]);

    [Fact]
    public void Select_VariantThatSomeComponentsHave_TakesItThereAndThePlainOneElsewhere() => AssertSelected(
        Pipeline,
        new DownloadOptions { Variant = "fp16" },
        [.. Texts, "text_encoder/model.fp16.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.safetensors"]);

    [Fact]
    public void Select_VariantThatNothingHas_NamesThoseThereAre()
    {
        var error = Assert.Throws<HubException>(() => Select(Pipeline, new DownloadOptions { Variant = "int8" }));

        Assert.Contains("'int8'", error.Message);
        Assert.Contains("it has fp16, non_ema and may have plain ones.", error.Message);
    }

    [Fact]
    public void Select_ComponentsThatExistOnlyInAVariant_TakesThatVariant() => AssertSelected(
        ["model_index.json", "unet/diffusion_pytorch_model.fp16.safetensors"],
        new DownloadOptions(),
        ["model_index.json", "unet/diffusion_pytorch_model.fp16.safetensors"]);

    [Theory]
    [InlineData("m.fp16-00001-of-00002.safetensors", "m.fp16-00002-of-00002.safetensors", "m.safetensors.index.fp16.json")]
    [InlineData("m-00001-of-00002.fp16.safetensors", "m-00002-of-00002.fp16.safetensors", "m.fp16.safetensors.index.json")]
    public void Select_ShardsOfAVariant_TakesAllOfThemWithTheirIndex(params string[] shards)
    {
        string[] plain = ["m-00001-of-00003.safetensors", "m-00002-of-00003.safetensors", "m-00003-of-00003.safetensors", "m.safetensors.index.json"];

        AssertSelected([.. plain, .. shards], new DownloadOptions { Variant = "fp16" }, shards);
        AssertSelected([.. plain, .. shards], new DownloadOptions(), plain);
    }

    [Fact]
    public void Select_SingleFilesWithDotsInTheirNames_TakesAll() => AssertSelected(
        ["style.v1.5.safetensors", "style.v2.safetensors"],
        new DownloadOptions(),
        ["style.v1.5.safetensors", "style.v2.safetensors"]);

    [Fact]
    public void Select_Patterns_TakesWhatMatchesButNoPickles() => AssertSelected(
        Pipeline,
        new DownloadOptions { Files = ["unet/*", "v1-5*"] },
        [
            "unet/config.json",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "v1-5-pruned.safetensors"
        ]);

    [Fact]
    public void Select_OnlyPickles_SaysWhyNothingIsFetched() =>
        Assert.Equal(
            "The model painters/tiny has no safetensors, JSON or text files. Pickled weights (.bin, .ckpt, .pt) are not fetched because reading them can " +
            "run code; look for a version with safetensors.",
            Assert.Throws<HubException>(() => Select(["model.ckpt", "pytorch_model.bin"], new DownloadOptions())).Message);

    [Theory]
    [InlineData("safety_checker")]
    [InlineData("onnx")]
    [InlineData("openvino")]
    [InlineData("coreml")]
    [InlineData("flax")]
    public void Select_FolderThatNoPipelineNeeds_IsLeftOutOfAPipelineAlone(string folder)
    {
        AssertSelected(
            ["model_index.json", $"{folder}/config.json", $"unet/{folder}/config.json"], new DownloadOptions(),
            ["model_index.json", $"unet/{folder}/config.json"]);
        AssertSelected(["config.json", $"{folder}/config.json"], new DownloadOptions(), ["config.json", $"{folder}/config.json"]);
    }

    [Theory]
    [InlineData("fp16")]
    [InlineData("bf16")]
    [InlineData("fp32")]
    [InlineData("non_ema")]
    [InlineData("ema_only")]
    public void Select_KnownVariant_IsTakenWhereItIsAskedForOrAlone(string variant)
    {
        string[] both = ["m.safetensors", $"m.{variant}.safetensors"];
        AssertSelected(both, new DownloadOptions(), ["m.safetensors"]);
        AssertSelected(both, new DownloadOptions { Variant = variant }, [both[1]]);
        AssertSelected([both[1], "other.safetensors"], new DownloadOptions(), [both[1], "other.safetensors"]);
    }

    [Fact]
    public void Select_SeveralVariantsAndNoPlainFile_TakesOneByAFixedOrder()
    {
        string[] variants = ["m.ema_only.safetensors", "m.non_ema.safetensors", "m.fp32.safetensors", "m.bf16.safetensors", "m.fp16.safetensors"];
        for (var known = 1; known <= variants.Length; known++)
        {
            AssertSelected(variants[..known], new DownloadOptions(), [variants[known - 1]]);
        }
    }

    [Fact]
    public void Select_WantedVariantThatIsNotKnown_IsTakenByItsWord()
    {
        AssertSelected(
            ["m.safetensors", "m.int8.safetensors", "n.safetensors"], new DownloadOptions { Variant = "int8" },
            ["m.int8.safetensors", "n.safetensors"]);
        AssertSelected(["m.safetensors", "m.int8.safetensors"], new DownloadOptions(), ["m.safetensors", "m.int8.safetensors"]);
        AssertSelected([".int8.safetensors", "m.int8.safetensors"], new DownloadOptions { Variant = "int8" }, [".int8.safetensors", "m.int8.safetensors"]);
    }

    [Theory]
    [InlineData("a.SAFETENSORS", true)]
    [InlineData("A.Json", true)]
    [InlineData("a.txt", true)]
    [InlineData("a.bin", false)]
    [InlineData("a.ckpt", false)]
    [InlineData("a.pt", false)]
    [InlineData("a.pth", false)]
    [InlineData("a.pkl", false)]
    [InlineData("a.msgpack", false)]
    [InlineData("a.h5", false)]
    [InlineData("a.py", false)]
    [InlineData("README.md", false)]
    [InlineData("json", false)]
    [InlineData("pytorch_model.bin.index.json", false)]
    [InlineData("flax_model.MsgPack.index.json", false)]
    [InlineData("tf_model.h5.index.json", false)]
    [InlineData("model.safetensors.index.json", true)]
    public void Select_Extension_IsOfAKindThatIsReadSafely(string file, bool isTaken)
    {
        AssertSelected(["config.json", file], new DownloadOptions(), isTaken ? ["config.json", file] : ["config.json"]);
        AssertSelected(["config.json", file], new DownloadOptions { Files = ["*"] }, isTaken ? ["config.json", file] : ["config.json"]);
    }

    [Theory]
    [InlineData("unet/*", "unet/a.json;unet/deep/b.json")]
    [InlineData("*.json", "a.json;unet/a.json;unet/deep/b.json")]
    [InlineData("a.json", "a.json")]
    [InlineData("A.JSON", null)]
    [InlineData("un?t/a.json", "unet/a.json")]
    [InlineData("unet", null)]
    public void Select_Pattern_MatchesWholeNames(string pattern, string? expected)
    {
        string[] files = ["a.json", "unet/a.json", "unet/deep/b.json", "b.txt", "c.bin"];
        if (expected is not null)
        {
            AssertSelected(files, new DownloadOptions { Files = [pattern] }, expected.Split(';'));
            return;
        }

        var error = Assert.Throws<HubException>(() => Select(files, new DownloadOptions { Files = [pattern, "*.md"] }));
        Assert.Equal(HubFailure.NotFound, error.Failure);
        Assert.Equal(
            $"The model painters/tiny has no safetensors, JSON or text file that matches {pattern}, *.md. Its files: a.json, unet/a.json, unet/deep/b.json, " +
            "b.txt",
            error.Message);
    }

    [Fact]
    public void Select_Files_ComeSmallestFirstThenByNameAndOnce()
    {
        ListedFile[] files =
        [
            new("c.json", 20, null, null), new("b.json", 3, null, null), new("a.json", 20, null, null), new("B.json", 20, null, null),
            new("d.json", null, null, null), new("b.json", 4, null, null),
        ];

        Assert.Equal(
            ["d.json", "b.json", "B.json", "a.json", "c.json"],
            FileSelection.Select(FakeHub.Id, files, new DownloadOptions()).Select(static file => file.Name));
    }

    [Fact]
    public void Select_VariantWhereAllIsPlain_SaysToLeaveItOut()
    {
        var error = Assert.Throws<HubException>(() => Select(["m.safetensors"], new DownloadOptions { Variant = "fp16" }));

        Assert.Equal(HubFailure.NotFound, error.Failure);
        Assert.Equal("The model painters/tiny has no weights of the variant 'fp16'; it has only plain ones. Leave the variant out.", error.Message);
    }

    [Fact]
    public void Select_PipelinesRoot_KeepsItsTextsAndNotItsSingleFiles()
    {
        AssertSelected(
            ["model_index.json", "README.txt", "all.SAFETENSORS", "unet/m.safetensors"], new DownloadOptions(),
            ["model_index.json", "README.txt", "unet/m.safetensors"]);
        AssertSelected(["folder/model_index.json", "all.safetensors"], new DownloadOptions(), ["folder/model_index.json", "all.safetensors"]);
    }

    private static void AssertSelected(string[] files, DownloadOptions options, string[] expected) =>
        Assert.Equal(expected.Order(StringComparer.Ordinal), Select(files, options).Order(StringComparer.Ordinal));

    private static IEnumerable<string> Select(string[] files, DownloadOptions options) =>
        FileSelection.Select(FakeHub.Id, [.. files.Select(name => new ListedFile(name, 1, null, null))], options).Select(file => file.Name);
}
