using LoraNotebooks.Hub;

namespace LoraNotebooks.Tests.Hub;

public sealed class FileSelectionTests
{
    private static readonly string[] Pipeline =
    [
        "README.md", "model_index.json", "v1-5-pruned.safetensors", "v1-5-pruned.ckpt",
        "unet/config.json", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json", "text_encoder/pytorch_model.bin", "text_encoder/pytorch_model.bin.index.json", "text_encoder/model.fp16.safetensors", "text_encoder/model.safetensors",
        "tokenizer/merges.txt", "tokenizer/vocab.json", "safety_checker/model.safetensors", "safety_checker/config.json", "scheduler/scheduler_config.json",
    ];

    private static readonly string[] Texts = ["model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "tokenizer/merges.txt", "tokenizer/vocab.json", "unet/config.json", "vae/config.json"];

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
        Assert.Contains("fp16, non_ema", error.Message);
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
        ["unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors", "unet/diffusion_pytorch_model.safetensors", "v1-5-pruned.safetensors"]);

    [Fact]
    public void Select_OnlyPickles_SaysWhyNothingIsFetched() =>
        Assert.Contains("Pickled weights", Assert.Throws<HubException>(() => Select(["model.ckpt", "pytorch_model.bin"], new DownloadOptions())).Message);

    private static void AssertSelected(string[] files, DownloadOptions options, string[] expected) =>
        Assert.Equal(expected.Order(StringComparer.Ordinal), Select(files, options).Order(StringComparer.Ordinal));

    private static IEnumerable<string> Select(string[] files, DownloadOptions options) =>
        FileSelection.Select(FakeHub.Id, [.. files.Select(name => new ListedFile(name, 1, null, null))], options).Select(file => file.Name);
}
